#!/usr/bin/env bash
# Trains every student of the comparison (students_64px.toml): one split, one budget, several seeds. Resumable: what is done is skipped.
#
#   research/students.sh siim_splits.csv runs/table "0 1 2"
#
# imagenet, scratch   the student on labels only, from ImageNet weights and from scratch
# teacher-ensemble    the students from ImageNet weights themselves, fused
# first-*, second-*   a student from ImageNet weights, then the ensemble, teach VGG19 and ResNet50V2, for which there are no such weights
# teacher             both, fused: VGG19 ‖ ResNet50V2
# soft, embedding, both, modern   distilled from that teacher; modern: with relations between images, and unlabelled images
# scratch-soft, -embedding, -both the same for the student from scratch
# ensemble            as modern, distilled from teacher-ensemble
#
# POCKETCXR_WEIGHTS names a folder with mobilenetv2_100.*.safetensors where timm's hub is out of reach.
set -euo pipefail
splits=$1 out=$2 seeds=${3:-0 1 2} here=$(dirname "$0")
shared=(--splits "$splits" --task "$here/siim_two.toml" --experiment "$here/students_64px.toml")
student() { # NAME OPTIONS...
  local name=$1
  shift
  mkdir -p "$out/views" "$out/$name"
  ln -sfn ../views "$out/$name/views" # a teacher's answers are computed once; their keys say whose they are
  pocketcxr train-student "${shared[@]}" -o "$out/$name" "$@"
}
teacher() { # NAME BACKBONES WEIGHTS
  pocketcxr train-teacher "${shared[@]}" -o "$out/$1" \
    --set teacher.backbones="$2" --set teacher.weights="$3" --set teacher.frozen_backbones=true
}
for seed in $seeds; do student "imagenet-s$seed" --no-teacher --set student.seed="$seed"; done
for seed in $seeds; do student "scratch-s$seed" --no-teacher --set student.seed="$seed" --set student.weights=scratch; done

own=() names=()
for seed in $seeds; do own+=("\"$out/imagenet-s$seed/student-baseline/best.safetensors\"") names+=('"mobilenetv2_100"'); done
teacher teacher-ensemble "[$(IFS=,; echo "${names[*]}")]" "[$(IFS=,; echo "${own[*]}")]"

first="$out/imagenet-s${seeds%% *}/student-baseline/best.safetensors"
large=(--set student.weights=scratch --set teacher.checkpoint="$first" --set student.unlabelled=true)
student first-resnet "${large[@]}" --set student.backbone=resnetv2_50 --set student.epochs=6
student first-vgg "${large[@]}" --set student.backbone=vgg19_bn --set student.epochs=4
student second-vgg --set student.weights="$out/first-vgg/student-distilled/best.safetensors" \
  --set student.backbone=vgg19_bn --set student.epochs=5 --set student.learning_rate=5e-4 --set student.unlabelled=true \
  --set teacher.checkpoint="$out/teacher-ensemble/teacher/teacher.safetensors"
teacher teacher '["vgg19_bn", "resnetv2_50"]' \
  "[\"$out/second-vgg/student-distilled/best.safetensors\", \"$out/first-resnet/student-distilled/best.safetensors\"]"

modern='student.losses={ce=0.5, kd=1.0, embedding=1.0, similarity=1.0}'
distilled=(--set teacher.checkpoint="$out/teacher/teacher/teacher.safetensors")
for seed in $seeds; do
  student "soft-s$seed" "${distilled[@]}" --set student.seed="$seed" --set 'student.losses={ce=0.5, kd=1.0}'
  student "embedding-s$seed" "${distilled[@]}" --set student.seed="$seed" --set 'student.losses={ce=0.5, embedding=1.0}'
  student "both-s$seed" "${distilled[@]}" --set student.seed="$seed"
  scratch=(--set student.weights=scratch --set student.seed="$seed")
  student "scratch-soft-s$seed" "${distilled[@]}" "${scratch[@]}" --set 'student.losses={ce=0.5, kd=1.0}'
  student "scratch-embedding-s$seed" "${distilled[@]}" "${scratch[@]}" --set 'student.losses={ce=0.5, embedding=1.0}'
  student "scratch-both-s$seed" "${distilled[@]}" "${scratch[@]}"
  student "modern-s$seed" "${distilled[@]}" --set student.seed="$seed" --set student.unlabelled=true --set "$modern"
done

for seed in $seeds; do
  student "ensemble-s$seed" --set teacher.checkpoint="$out/teacher-ensemble/teacher/teacher.safetensors" \
    --set student.seed="$seed" --set student.unlabelled=true --set "$modern"
done
