# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# The head of the script of commands: each is named and timed; the first that fails ends it.
trap '' HUP # as under nohup, and wherever there is no terminal
cd "$(dirname "$0")/project" || exit

begin() {
	name=$1 began=$SECONDS
	printf '\n== %s\n' "$name"
}

end() {
	local words
	words=$(printf '%5d s, status %d: %s' $((SECONDS - began)) "$1" "$name")
	printf '== %s\n' "$words"
	echo "$words" >>../steps
	[ "$1" = 0 ] || exit "$1"
}

