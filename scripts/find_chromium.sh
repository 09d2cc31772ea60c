#!/usr/bin/env bash
# Prints the path of a Chromium for the browser tests, installing one when there is none.
# Usage: find_chromium.sh PYTHON     ($CLEW_CHROMIUM, if set, is taken as it is)
set -euo pipefail

python=$1

# Whether $1 is a program that starts: one that lacks shared libraries does not.
starts() { [[ -x $1 ]] && "$1" --version >/dev/null 2>&1; }

found() {
  local path name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    path=$(command -v "$name") && starts "$path" && echo "$path" && return
  done
  for path in "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" /Applications/Chromium.app/Contents/MacOS/Chromium; do
    starts "$path" && echo "$path" && return
  done
  path=$("$python" -c 'from playwright.sync_api import sync_playwright as p
with p() as browsers: print(browsers.chromium.executable_path)' 2>/dev/null) && starts "$path" && echo "$path"
}

if [[ -n ${CLEW_CHROMIUM:-} ]]; then
  starts "$CLEW_CHROMIUM" || { echo "CLEW_CHROMIUM=$CLEW_CHROMIUM is not a program that starts." >&2; exit 1; }
  echo "$CLEW_CHROMIUM"
  exit
fi
found && exit
echo "No Chromium here: trying Playwright's own" >&2
"$python" -m playwright install chromium >&2 && found && exit
if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
  echo "Installing Chromium with apt-get" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >&2 && found && exit
fi
echo "The browser tests need Chromium: install it (for example: sudo apt-get install chromium), or set CLEW_CHROMIUM." >&2
exit 1
