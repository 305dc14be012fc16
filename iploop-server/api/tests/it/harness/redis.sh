# Starts a Redis of its own in a new folder, prints the folder, and ends and removes it when stdin closes. Status 3: not installed.
set -eu
command -v redis-server >/dev/null || exit 3
folder=$(mktemp -d /tmp/iploop-api-test.XXXXXX)
server=
end() {
    [ -z "$server" ] || kill -9 "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 1' HUP INT TERM

redis-server --port 0 --save '' --appendonly no --databases 10000 --unixsocket "$folder/redis.sock" --dir "$folder" \
    </dev/null >/dev/null &
server=$!
until [ -S "$folder/redis.sock" ]; do
    kill -0 "$server"
    sleep 0.05
done
echo "$folder"
cat >/dev/null || true
