#!/bin/sh
# Usage: packages.sh [PACKAGE]...
# Installs the missing ones of the Debian packages listed in apt-packages.txt, or of
# those named.  Exits 1, saying what is missing, where it cannot install them.
set -eu

list=$(dirname "$0")/../apt-packages.txt

# package, kind and name of what shows that it is there: one line each
wanted() {
  if [ $# -gt 0 ]; then
    printf '%s - -\n' "$@"
  else
    sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$list"
  fi
}

there() {
  case $1 in
  program) command -v "$2" >/dev/null ;;
  library) pkg-config --exists "$2" 2>/dev/null ;;
  file) test -e "$2" ;;
  *) false ;;
  esac
}

root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

names=$(wanted "$@" | while read -r package kind name; do echo "$package"; done)
# dpkg-query exits 1 where it does not know a package, and is absent where there is no dpkg.
# shellcheck disable=SC2016,SC2086
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $names 2>/dev/null) || :
installed=$(echo "$installed" | sed -n 's/^installed //p' | tr '\n' ' ')

missing=$(wanted "$@" | while read -r package kind name; do
  case " $installed" in
  *" $package "*) ;;
  *) there "$kind" "$name" || echo "$package" ;;
  esac
done | tr '\n' ' ')
missing=${missing% }
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "mergescape: missing, by the names of their Debian packages: $missing" >&2
  echo "There is no apt-get here: install what this system calls them, and try again." >&2
  echo "apt-packages.txt says what each is recognised by." >&2
  exit 1
fi
install="apt-get install -y --no-install-recommends $missing"
if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
  echo "mergescape: these Debian packages are missing: $missing" >&2
  echo "Installing them needs root, and there is no sudo here.  As root, run:" >&2
  echo "  apt-get update && $install" >&2
  exit 1
fi

echo "installing: $missing"
# Old lists are better than none: an update that fails does not stop the installation.
root apt-get update -q || echo "mergescape: apt-get update failed; trying with the lists at hand" >&2
# shellcheck disable=SC2086
if ! root env DEBIAN_FRONTEND=noninteractive \
  apt-get -q -o DPkg::Lock::Timeout=120 install -y --no-install-recommends $missing; then
  echo "mergescape: could not install: $missing" >&2
  exit 1
fi
