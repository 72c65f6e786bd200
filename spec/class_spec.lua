local class = require 'moonlatch.class'

describe('class', function()
  local Animal, Dog

  before_each(function()
    Animal = class('Animal')
    function Animal:init(name)
      self.name = name
    end
    function Animal:speak()
      return self.name .. ' makes a sound'
    end
    Dog = class('Dog', Animal)
  end)

  it('makes instances by calling the class, which runs init', function()
    assert.equal('Rex', Animal('Rex').name)
  end)

  it('gives a subclass the init of its superclass', function()
    assert.equal('Rex', Dog('Rex').name)
  end)

  it('lets a subclass override a method and call the inherited one', function()
    function Dog:speak()
      return Animal.speak(self) .. ': woof'
    end
    assert.equal('Rex makes a sound: woof', Dog('Rex'):speak())
  end)

  it('shows a method added later to instances made before, in subclasses too', function()
    local rex = Dog('Rex')
    function Animal:sleep()
      return 'zzz'
    end
    assert.equal('zzz', rex:sleep())
  end)

  it('takes methods through prototype as well', function()
    function Animal.prototype:sit()
      return self.name .. ' sits'
    end
    assert.equal('Rex sits', Dog('Rex'):sit())
    assert.equal(Animal.prototype.speak, Dog.prototype.speak)
  end)

  it('finds the inherited method again when an override is removed', function()
    function Dog:speak()
      return 'woof'
    end
    Dog.speak = nil
    assert.equal('Rex makes a sound', Dog('Rex'):speak())
  end)

  it('does not let a change in a superclass replace what a subclass defined', function()
    function Dog:speak()
      return 'woof'
    end
    function Animal:speak()
      return 'changed'
    end
    assert.equal('woof', Dog('Rex'):speak())
    assert.equal('changed', Animal('Tom'):speak())
  end)

  it('computes getters, which see the instance', function()
    class.getter(Animal, 'loud', function(self)
      return self.name:upper()
    end)
    assert.equal('REX', Dog('Rex').loud)
  end)

  it('lets a field of the instance hide a getter', function()
    class.getter(Animal, 'loud', function()
      return true
    end)
    local rex = Dog('Rex')
    rex.loud = 'no'
    assert.equal('no', rex.loud)
  end)

  it('lets a subclass define a getter of its own', function()
    class.getter(Animal, 'legs', function() return 4 end)
    class.getter(Dog, 'legs', function() return 3 end)
    class.getter(Animal, 'legs', function() return 5 end)
    assert.equal(3, Dog('Rex').legs)
    assert.equal(5, Animal('Tom').legs)
  end)

  it('gives a class without getters a plain table to look methods up in', function()
    assert.equal('table', type(getmetatable(Dog('Rex')).__index))
  end)

  it('lets any field be hung on an instance', function()
    local rex = Dog('Rex')
    rex.anything = 1
    assert.equal(1, rex.anything)
    assert.is_nil(rex.nothing)
  end)

  it('knows an instance of a class, of its subclasses, and of nothing else', function()
    assert.is_true(class.isInstance(Dog('Rex'), Animal))
    assert.is_true(class.isInstance(Dog('Rex'), Dog))
    assert.is_false(class.isInstance(Animal('Tom'), Dog))
    for _, value in ipairs { {}, 'x', 1, true, Animal, io.stdout } do
      assert.is_false(class.isInstance(value, Animal))
    end
    assert.is_false(class.isInstance(nil, Animal))
    assert.is_false(class.isInstance(Dog('Rex'), nil))
  end)

  it('mixes in what a class lacks, and counts its instances as of the mixed class', function()
    local Swimmer = class('Swimmer')
    function Swimmer:swim() return 'splash' end
    function Swimmer:speak() return 'blub' end
    class.getter(Swimmer, 'wet', function() return true end)
    class.mixin(Dog, Swimmer)
    local rex = Dog('Rex')
    assert.equal('splash', rex:swim())
    assert.equal('Rex makes a sound', rex:speak())
    assert.is_true(rex.wet)
    assert.is_true(class.isInstance(rex, Swimmer))
    assert.is_false(class.isInstance(Animal('Tom'), Swimmer))
  end)

  it('counts instances of existing subclasses as of a class mixed in later', function()
    local Puppy, Swimmer = class('Puppy', Dog), class('Swimmer')
    class.mixin(Dog, Swimmer)
    assert.is_true(class.isInstance(Puppy('Rex'), Swimmer))
  end)

  it('extends with a name or without', function()
    assert.equal('Cat', Animal:extend('Cat').__name)
    assert.equal('Animal', Animal:extend().__name)
    assert.equal(Animal, Animal:extend().super)
  end)

  it('names the class in constructor', function()
    assert.equal(Dog, Dog('Rex').constructor)
    assert.equal(Animal, Animal('Tom').constructor)
  end)

  it('makes readable strings of classes and instances', function()
    assert.equal('class Dog', tostring(Dog))
    assert.matches('^Dog: ', tostring(Dog('Rex')))
  end)

  it('inherits metamethods set before the subclass was made', function()
    Animal.metatable.__tostring = function(self) return '<' .. self.name .. '>' end
    assert.equal('<Rex>', tostring(Animal:extend('Fox')('Rex')))
  end)

  it('lets a method be called name', function()
    local Named = class('Named')
    function Named:name() return 'n' end
    assert.equal('n', Named():name())
  end)

  it('refuses a superclass that is no class', function()
    assert.has_error(function() class('X', {}) end)
    assert.has_error(function() class() end)
  end)
end)
