#!/usr/bin/env bash
# Lints the Make app, and runs every module, hook and blueprint of it against a real Goodword server.
# GOODWORD is the path of the program; without it, cargo builds it.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v node >/dev/null || [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
    echo "Node 20 or newer is needed" >&2
    exit 1
fi
if [ -z "${GOODWORD:-}" ]; then
    (cd ../.. && cargo build --quiet --bin goodword)
    GOODWORD=$(cd ../.. && cargo metadata --no-deps --format-version 1 | node -p 'JSON.parse(require("fs").readFileSync(0)).target_directory')/debug/goodword
fi
export GOODWORD

# app/ is what src/ makes of this server's answers and events.
node src/build.mjs --check
# Ajv is for Make's own schemas, and only needed where they are; see test/schemas.test.mjs.
npm install --no-audit --no-fund --loglevel=error
# Each test file has a server of its own. A test that hangs is a failure.
timeout 300 node --test test/*.test.mjs
