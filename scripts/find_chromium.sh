#!/usr/bin/env bash
# Prints the path of a Chromium for the browser tests, installing one when there is none.
# Usage: find_chromium.sh PYTHON     ($CLEW_CHROMIUM, if set, is taken as it is)
set -euo pipefail

python=$1

found() {
  if [[ -n ${CLEW_CHROMIUM:-} ]]; then
    [[ -x $CLEW_CHROMIUM ]] || { echo "CLEW_CHROMIUM=$CLEW_CHROMIUM is not a program." >&2; exit 1; }
    echo "$CLEW_CHROMIUM"
    return
  fi
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name"; then return; fi
  done
  for path in "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" /Applications/Chromium.app/Contents/MacOS/Chromium; do
    if [[ -x $path ]]; then echo "$path"; return; fi
  done
  own=$("$python" -c 'from playwright.sync_api import sync_playwright
with sync_playwright() as p: print(p.chromium.executable_path)' 2>/dev/null || true)
  if [[ -n $own && -x $own ]]; then echo "$own"; return; fi
  return 1
}

found && exit 0
echo "No Chromium here: trying Playwright's own" >&2
timeout 300 "$python" -m playwright install chromium >&2 2>&1 && found && exit 0
if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
  echo "Installing Chromium with apt-get" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >&2 && found && exit 0
fi
echo "The browser tests need Chromium: install it (for example: sudo apt-get install chromium), or set CLEW_CHROMIUM." >&2
exit 1
