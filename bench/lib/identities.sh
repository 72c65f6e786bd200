# shellcheck shell=bash
# Sourced by run and check: the certificates that servers show.

# Makes in `dir`, for a week: ecdsa and rsa (self-signed), and chain, whose chain has an intermediate authority, with an
# OCSP response of that authority in chain.ocsp. `.crt` and `.key` each.
make_identities() {
  local dir=$1 issuing key
  local leaf='subjectAltName=DNS:localhost,IP:127.0.0.1' authority='basicConstraints=critical,CA:TRUE'
  printf '[req]\ndistinguished_name = dn\n[dn]\n' >"$dir/req.cnf"
  # new_certificate NAME SUBJECT EXTENSION OPTION…
  new_certificate() {
    local name=$1 subject=$2 extension=$3
    shift 3
    openssl req -x509 -config "$dir/req.cnf" -nodes -days 7 -subj "/CN=$subject" -addext "$extension" "$@" \
      -keyout "$dir/$name.key" -out "$dir/$name.crt" 2>/dev/null
  }
  key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256)
  new_certificate ecdsa localhost "$leaf" "${key[@]}"
  new_certificate rsa localhost "$leaf" -newkey rsa:2048
  new_certificate root Root "$authority" "${key[@]}"
  new_certificate issuing Issuing "$authority" "${key[@]}" -CA "$dir/root.crt" -CAkey "$dir/root.key"
  issuing=(-CA "$dir/issuing.crt" -CAkey "$dir/issuing.key")
  new_certificate chain localhost "$leaf" "${key[@]}" "${issuing[@]}"
  printf 'V\t%s\t\t%s\tunknown\t/CN=localhost\n' "$(date -u -d '+7 days' +%y%m%d%H%M%SZ)" \
    "$(openssl x509 -in "$dir/chain.crt" -noout -serial | cut -d= -f2)" >"$dir/index"
  openssl ocsp -index "$dir/index" -CA "$dir/issuing.crt" -rsigner "$dir/issuing.crt" -rkey "$dir/issuing.key" \
    -issuer "$dir/issuing.crt" -cert "$dir/chain.crt" -no_nonce -resp_no_certs -ndays 7 -respout "$dir/chain.ocsp" \
    >/dev/null 2>&1
  cat "$dir/issuing.crt" >>"$dir/chain.crt"
}
