#!/bin/sh
# Makes sure that there is a browser for the tests, and prints where: browser.sh chromium | firefox | webkit.
# One that is named in $CHROMIUM, $FIREFOX or $WEBKIT (a WebKitWebDriver), the system's, or Debian's. Without Chromium it
# fails; without one of the others it says so and prints nothing, and the tests in that browser are skipped.
set -eu
first() { for name in "$@"; do command -v "$name" && return; done; true; }
look() {
  case "$1" in
    chromium) echo "${CHROMIUM:-$(first chromium chromium-browser google-chrome)}" ;;
    firefox) echo "${FIREFOX:-$(first firefox-esr firefox)}" ;;
    webkit) if [ -n "$(first Xvfb)" ]; then echo "${WEBKIT:-$(first WebKitWebDriver)}"; fi ;; # it draws on a display
  esac
}
case "$1" in
  chromium) packages=chromium ;;
  firefox) packages=firefox-esr ;;
  webkit) packages="webkit2gtk-driver xvfb" ;;
  *) echo "browser.sh: expected chromium, firefox or webkit, found $1" >&2; exit 2 ;;
esac
found="$(look "$1")"
if [ -z "$found" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing Debian's $packages for the browser tests" >&2
  # shellcheck disable=SC2086 # several packages
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages || true; } >&2
  found="$(look "$1")"
fi
if [ -z "$found" ]; then
  if [ "$1" = chromium ]; then
    echo "the browser tests need Chromium: install it, or name one with CHROMIUM=/path/to/chromium" >&2
    exit 1
  fi
  echo "no tests in $1: install $packages, or name the program with $(echo "$1" | tr a-z A-Z)=/path" >&2
fi
echo "$found"
