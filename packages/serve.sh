# For a ci.sh whose tests want a running server: sourced after node.sh.

# A server on an empty data folder until the script ends, which may deliver to this machine:
# serve OPTIONS… → $GOODWORD_URL, $GOODWORD_LIVE_KEY, $GOODWORD_TEST_KEY, and a folder for tests, $SCRATCH.
serve() {
	SCRATCH=$(mktemp -d)
	local log=$SCRATCH/server.log
	"$GOODWORD" serve --data "$SCRATCH/data" --listen 127.0.0.1:0 --allow-networks 127.0.0.0/8 --log-format text "$@" >"$log" 2>&1 &
	SERVER=$!
	trap end_of_serve EXIT
	for _ in $(seq 600); do
		grep -q ' ready at ' "$log" && break
		kill -0 "$SERVER" || break
		sleep 0.1
	done
	GOODWORD_URL=$(grep -o -m1 'http://127[.:0-9]*' "$log") || exit 1
	GOODWORD_LIVE_KEY=$(grep -o -m1 'gw_live_[a-z0-9]*' "$log")
	GOODWORD_TEST_KEY=$(grep -o -m1 'gw_test_[a-z0-9]*' "$log")
	export GOODWORD_URL GOODWORD_LIVE_KEY GOODWORD_TEST_KEY
}

# What the server said is worth reading where something failed.
end_of_serve() {
	local status=$?
	kill "$SERVER" 2>/dev/null && wait "$SERVER" || true
	[ "$status" = 0 ] || cat "$SCRATCH/server.log"
	rm -rf "$SCRATCH"
	exit "$status"
}
