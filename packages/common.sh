# What the ci.sh of the packages have in common; sourced, not run.
#
#   GOODWORD or GOODWORD_BIN   the server; built with cargo where neither is given
#   GOODWORD_CI_CACHE          where tools are kept between runs, ~/.cache/goodword-ci

CACHE=${GOODWORD_CI_CACHE:-$HOME/.cache/goodword-ci}
mkdir -p "$CACHE"
say() { printf '\n== %s: %s (%d s)\n' "$PACKAGE" "$1" "$SECONDS"; }

command -v npm >/dev/null || { echo "$PACKAGE needs Node 18 or newer, with npm"; exit 1; }

# npm needs --legacy-peer-deps where peers turn in circles, and the locks with `install`: `ci` takes
# the optional packages of other platforms for missing.
npm_install() { npm install --ignore-scripts --no-audit --no-fund --legacy-peer-deps --loglevel=error "$@"; }

# A folder of the cache with what a lock names: installed NAME FOLDER → $INSTALLED.
# It is filled beside and then moved, so that a run that breaks off leaves nothing half done.
installed() {
	local name=$1 from=$2 hash fresh
	hash=$(cat "$from/package.json" "$from/package-lock.json" | sha256sum | cut -c1-12)
	INSTALLED=$CACHE/$name-$hash
	[ -e "$INSTALLED/.complete" ] && return
	fresh=$CACHE/.$name-$hash.$$
	say "installing $name"
	mkdir -p "$fresh"
	cp "$from"/package.json "$from"/package-lock.json "$fresh/"
	(cd "$fresh" && { npm_install || npm_install; } && touch .complete) || { rm -rf "$fresh"; exit 1; }
	rm -rf "$INSTALLED"
	mv "$fresh" "$INSTALLED"
}

# A server on an empty data folder until the script ends → $GOODWORD_URL, $GOODWORD_LIVE_KEY,
# $GOODWORD_TEST_KEY. It may deliver to this machine. Its log is shown where the script fails.
# start_goodword OPTIONS…
start_goodword() {
	local root
	root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
	GOODWORD=${GOODWORD:-${GOODWORD_BIN:-}}
	if [ -z "$GOODWORD" ]; then
		say "building the Goodword server"
		cargo build --quiet --manifest-path "$root/Cargo.toml" -p goodword
		GOODWORD=$(cargo metadata --no-deps --format-version 1 --manifest-path "$root/Cargo.toml" | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/goodword
	fi
	DATA=$(mktemp -d)
	"$GOODWORD" serve --data "$DATA" --listen 127.0.0.1:0 --allow-networks 127.0.0.0/8 --log-format text "$@" >"$DATA/log" 2>&1 &
	SERVER=$!
	trap stop_goodword EXIT
	for _ in $(seq 300); do
		grep -q ' ready at ' "$DATA/log" && break
		kill -0 "$SERVER" || break
		sleep 0.1
	done
	GOODWORD_URL=$(grep -o -m1 'http://127[.:0-9]*' "$DATA/log") || exit 1
	GOODWORD_LIVE_KEY=$(grep -o -m1 'gw_live_[a-z0-9]*' "$DATA/log")
	GOODWORD_TEST_KEY=$(grep -o -m1 'gw_test_[a-z0-9]*' "$DATA/log")
	export GOODWORD_URL GOODWORD_LIVE_KEY GOODWORD_TEST_KEY
}

stop_goodword() {
	local status=$?
	kill "$SERVER" 2>/dev/null && wait "$SERVER" || true
	[ "$status" = 0 ] || grep -v 'gw_' "$DATA/log" || true
	rm -rf "$DATA"
	exit "$status"
}
