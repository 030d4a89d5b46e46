# What every packages/*/ci.sh needs; it sources this. Afterwards Node 20.19 or newer and its npm are in PATH, and
# $GOODWORD is the server to test against.
#
#   GOODWORD            the server's program; built with cargo where it is not given
#   GOODWORD_CI_CACHE   what is installed is kept there between runs, ~/.cache/goodword-ci
PACKAGES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${GOODWORD_CI_CACHE:-$HOME/.cache/goodword-ci}
mkdir -p "$CACHE"
export CI=1

say() { printf '\n== %s: %s (%d s)\n' "$(basename "$PWD")" "$1" "$SECONDS"; }

# Debian packages, those that are missing.
debian() {
	local missing=() package
	for package in "$@"; do
		dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
	done
	[ ${#missing[@]} -eq 0 ] && return
	say "installing ${missing[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# npm turns in circles on n8n's peers without --legacy-peer-deps; `ci` takes optional packages of other platforms
# for missing.
npm_install() { npm install --ignore-scripts --no-audit --no-fund --legacy-peer-deps --loglevel=error "$@"; }

# A folder of the cache with what a lock names: installed NAME FOLDER_OF_THE_LOCK [COMMAND] → $INSTALLED.
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
	if ! (cd "$fresh" && { npm_install || npm_install; } && $finish && touch .complete); then
		rm -rf "$fresh"
		echo "$name cannot be installed, and nothing was tested: can $(npm config get registry) be reached from here?"
		exit 1
	fi
	rm -rf "$INSTALLED"
	mv "$fresh" "$INSTALLED"
}

# The same for Python: python_venv NAME REQUIREMENTS → $VENV. What is to be there is listed in full.
python_venv() {
	VENV=$CACHE/$1-python-$(sha256sum <"$2" | cut -c1-12)
	[ -e "$VENV/.complete" ] && return
	python3 -c 'import ensurepip' 2>/dev/null || debian python3 python3-venv
	say "installing $1-python"
	rm -rf "$VENV"
	python3 -m venv "$VENV"
	if ! "$VENV/bin/pip" install --quiet --no-deps --disable-pip-version-check -r "$2"; then
		echo "$1-python cannot be installed, and nothing was tested: can PyPI be reached from here?"
		exit 1
	fi
	touch "$VENV/.complete"
}

# Node of a major version in PATH, from node/, whose locks hold it for x86-64 and arm64. The packages of other
# processors are optional, and one that could not be fetched is left out without a word: so it is tried.
use_node() {
	installed "node-$1" "$PACKAGES/node/$1" 'node_modules/.bin/node --version'
	export PATH=$INSTALLED/node_modules/.bin:$PATH
	headers
}

# The headers of the Node in PATH, for what is compiled; they would be fetched from nodejs.org otherwise.
headers() {
	local prefix
	prefix=$(node -p 'require("path").resolve(process.execPath, "../..")')
	[ ! -d "$prefix/include/node" ] || export npm_config_nodedir=$prefix
}

node_is_new_enough() {
	command -v npm >/dev/null &&
		node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null
}

if node_is_new_enough; then
	headers
else
	# Debian 12 has Node 18, which is good enough to fetch a newer one.
	command -v npm >/dev/null || debian nodejs npm
	use_node 20
fi

if [ -z "${GOODWORD:-}" ]; then
	say "building the Goodword server"
	(cd "$PACKAGES/.." && cargo build --quiet -p goodword)
	GOODWORD=$(cd "$PACKAGES/.." && cargo metadata --no-deps --format-version 1 |
		node -p 'JSON.parse(require("fs").readFileSync(0)).target_directory')/debug/goodword
fi
export GOODWORD
