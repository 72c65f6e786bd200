# shellcheck shell=bash disable=SC2154
# Sourced by run, whose variables it uses: what is measured, and of whom.

idle=10000
web='ceiling nginx haproxy node node-latest bun moonlatch'
echoing='ceiling node node-latest bun moonlatch'
bulk='ceiling nginx node node-latest bun moonlatch'
proxies='nginx+stream haproxy+tcp moonlatch+lua moonlatch'
callbacks='ceiling node node+all moonlatch moonlatch+sni moonlatch+sessions moonlatch+ocsp moonlatch+all'
programs='true luajit openssl-init node node-latest bun moonlatch'

# name | servers, with a plus before a variant | load's arguments. The port is the server's first, +1 with --cert=rsa,
# +2 with --mode=echo and +3 with --servername.
scenario_list() {
  cat <<LIST
full-1.3-ecdsa|$web|--mode=full --tls=1.3 --conns=16
full-1.3-rsa|$web|--mode=full --tls=1.3 --cert=rsa --conns=16
full-1.2-ecdsa|$web|--mode=full --tls=1.2 --conns=16
resumed-1.3|$web|--mode=resumed --tls=1.3 --conns=16
resumed-1.2|$web|--mode=resumed --tls=1.2 --conns=16
request-1|$web|--mode=request --conns=1
request-64|$web|--mode=request --conns=64
request-1000|$web|--mode=request --conns=1000
echo-16k|$echoing|--mode=echo --size=16384 --conns=16
bulk-1|$bulk|--mode=bulk --conns=1
bulk-16|$bulk|--mode=bulk --conns=16
idle|$web|--mode=idle --conns=$idle
mixed|$web|--mode=request --conns=64 --storm=16
native-pipe-echo|$proxies|--mode=echo --size=16384 --conns=16
native-pipe-bulk|$proxies|--mode=bulk --conns=16
callbacks-1.3|$callbacks|--mode=full --tls=1.3 --conns=16 --servername=localhost --status
callbacks-1.2|$callbacks|--mode=full --tls=1.2 --conns=16 --servername=localhost --status
callbacks-1.2-ids|$callbacks|--mode=full --tls=1.2 --conns=16 --servername=localhost --status --no-ticket
workers|moonlatch+1 moonlatch+2|--mode=full --conns=16
contexts|node node-latest moonlatch|
start-up|$programs|
LIST
}

# Memory and the cost of a context hardly differ from round to round, and take long.
rounds_of() {
  case $1 in
    idle | contexts) echo 1 ;;
    *) echo "$rounds" ;;
  esac
}
