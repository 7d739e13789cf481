#!/usr/bin/env bash
# A search from a recipe, and what can be done with its folder. About a minute on one core; with a virtual environment
# that has vkdnw-search: bash examples/search_from_recipe.sh [FOLDER]
set -euo pipefail
out=${1:-runs/example}

# The recipe nb201, with smaller networks and fewer candidates than it would take for a serious search.
small=(space.cells=1 space.channels=8 limits.flops=5M stop.evaluations=30 finalists=3)

vkdnw-search nb201 "${small[@]}" --out "$out"                   # writes the folder: winner, report, every candidate
vkdnw-search nb201 "${small[@]}" stop.evaluations=45 --out "$out" -q   # a longer search: continues, loses nothing
vkdnw-search export "$out" --rank 2 --to "$out.second.py"       # the runner-up, as a module that needs torch alone
vkdnw-search score "$out.second.py" --input-shape 3,32,32       # its score, and the score of any other network
