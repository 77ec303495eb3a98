#!/usr/bin/env bash
# A contact sheet of any styles over a folder of photographs:
#   PHOTOS=folder OUT=sheet.jpg runs/sheet.sh STYLE...
# STYLE is a bundled name or a style file; all the bundled ones if none is named.
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/python runs/sheet.py --photos "${PHOTOS:-examples/photos}" --out "${OUT:-runs-out/sheet.jpg}" "$@"
