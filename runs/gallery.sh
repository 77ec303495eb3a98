#!/bin/sh
# Makes the painters' styles again, each from its painting, by its recipe: the same command goes on where an earlier one was ended.
#
#     runs/gallery.sh DATA OUT [STYLE...]
#
# DATA holds photos/ (a few hundred photographs of 288 px or more on the short side), vgg19_conv1_1-conv3_4.safetensors (or any VGG-19
# weights, by this name) and each painting as STYLE.jpg. Style files appear as OUT/STYLE.onnx. A GPU is used where torch sees one.
set -eu
[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
data=$(cd "$1" && pwd)
mkdir -p "$2" && cd "$2"
shift 2
[ $# -gt 0 ] || set -- starry-night wheat-field the-scream water-lilies woman-with-a-hat great-wave udnie composition-vii

train() { # RECIPE PAINTING [options]: the run folder RECIPE, from nothing or from its newest checkpoint
    name=$1 painting=$2
    shift 2
    if [ -f "$name/style.onnx" ]; then return; fi
    if [ -d "$name/checkpoints" ]; then
        limner train --resume "$name"
    else
        limner train --config "$here/recipes/$name.toml" --style-image "$data/$painting.jpg" --photos "$data/photos" \
            --abstractions "$painting-abstractions" --vgg "$data/vgg19_conv1_1-conv3_4.safetensors" --out "$name" "$@"
    fi
}

abstractions() { # PAINTING KIND [options]
    painting=$1 kind=$2
    shift 2
    limner prepare abstractions "$data/photos" --abstraction "$kind" --painting "$data/$painting.jpg" -o "$painting-abstractions" "$@"
}

first_of() { # STYLE: the network that its training starts from
    case $1 in
        great-wave) echo storybook ;;
        udnie) echo udnie.first ;;
        *) echo hand.first ;;
    esac
}

kind_of() {
    case $1 in
        great-wave) echo woodblock ;;
        udnie) echo planes ;;
        *) echo flow ;;
    esac
}

share_of() { # how much of a painter's own weights is in the style file; the rest is its first network's
    case $1 in
        starry-night | wheat-field | woman-with-a-hat) echo 0.85 ;;
        water-lilies | composition-vii) echo 0.8 ;;
        udnie) echo 0.7 ;;
        *) echo 1 ;;
    esac
}

own_abstractions() { # STYLE
    size=$(sed -n 's/^stroke_size = //p' "$here/recipes/$1.toml")
    abstractions "$1" "$(kind_of "$1")" --stroke-size "$size" $(grep -q '^grade = true' "$here/recipes/$1.toml" && echo --grade || true)
}

for style in "$@"; do
    first=$(first_of "$style")
    if [ "$first" = hand.first ]; then
        own_abstractions starry-night
        train hand.first starry-night
    fi
    own_abstractions "$style"
    case $first in
        storybook) train "$style" "$style" --start storybook ;;
        udnie.first)
            train udnie.first udnie --start storybook
            train udnie udnie --start udnie.first/style.safetensors --steps 240 # about where the bundled one, of 600 steps, was ended
            ;;
        *) train "$style" "$style" --start hand.first/style.safetensors ;;
    esac
    if [ "$(share_of "$style")" = 1 ]; then
        limner export "$style" -o "$style.onnx" --compact
    else
        python "$here/runs/mean_of_weights.py" "$style/style.onnx" "$first/style.onnx" "$(share_of "$style")" "$style.onnx"
    fi
    echo "$style.onnx"
done
