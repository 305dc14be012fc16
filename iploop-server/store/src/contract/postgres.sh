# Starts a PostgreSQL of its own in a new folder, prints the folder, and ends and removes it when stdin closes: that is, when
# the tests end, in whatever way. Status 3: PostgreSQL is not installed.
set -eu
initdb=$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1)
[ -n "$initdb" ] || exit 3
bin=$(dirname "$initdb")

folder=$(mktemp -d /tmp/iploop-store-test.XXXXXX)
# PostgreSQL refuses to run as root.
as=
if [ "$(id -u)" = 0 ]; then
    chown postgres "$folder"
    as="runuser -u postgres --"
fi
cd "$folder"
end() {
    $as "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true
    cd /
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 1' HUP INT TERM

$as "$bin/initdb" -D "$folder/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >/dev/null
$as "$bin/pg_ctl" -D "$folder/data" -w -l "$folder/log" \
    -o "-k $folder -c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=200" start >/dev/null
echo "$folder"
cat >/dev/null || true
