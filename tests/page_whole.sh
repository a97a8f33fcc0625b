#!/bin/sh
# page_whole.sh PAGE: is a report whole, and does it need no other file?  Says what is wrong.
set -u
page=$1
wrong=$(mktemp) || exit 2
trap 'rm -f "$wrong"' EXIT

complain()
{
  echo "$page: $*" >>"$wrong"
}

[ -s "$page" ] || complain "is not there, or empty"
[ "$(tail -n 1 "$page")" = "</html>" ] || complain "is cut off"
grep -qi '<script\|<iframe\|<object\|<embed\|<link rel=stylesheet\|@import' "$page" &&
  complain "takes another file in"
grep -qE "(src|srcset|xlink:href) *= *[\"']?[^\"'#]" "$page" && complain "has a source"
grep -qE "url\\( *[\"']?[^\"'#)]" "$page" && complain "has the address of a file"
# Links lead to places of the page; the icon is empty data.
grep -oE '<a [^>]*href="[^"]*"' "$page" | sed 's/.*href="//; s/"$//' | sort -u |
  while read -r target; do
    case $target in
    '#'*) grep -qE " id=\"?${target#\#}[\" >]" "$page" || complain "nothing is at $target" ;;
    *) complain "leads to $target" ;;
    esac
  done
# A figure is a picture, or says why there is none.
figures=$(grep -oE '<section id=fig[0-9]+' "$page" | wc -l)
pictures=$(grep -c '<svg' "$page")
[ "$figures" -gt 0 ] || complain "has no figure"
[ "$pictures" -eq "$figures" ] || complain "has $pictures pictures of $figures figures"
grep -q "It has not been drawn" "$page" && complain "lacks a picture"
for part in claims figures costs standins assumptions machines; do
  grep -q "<section id=$part " "$page" || complain "has no section $part"
done

[ ! -s "$wrong" ] || { cat "$wrong"; exit 1; }
echo "$page: $figures figures, whole"
