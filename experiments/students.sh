#!/usr/bin/env bash
# Trains every student of the comparison (students_64px.toml): one split, one budget, several seeds. Resumable: what is done is skipped.
#
#   experiments/students.sh splits.csv runs/table "0 1 2"
#
# imagenet, scratch   the student on labels alone, from ImageNet weights and from scratch
# first teacher       the student from ImageNet weights teaches ResNet50V2 and VGG19, for which there are no ImageNet weights
# teacher             both, fused: VGG19 ‖ ResNet50V2
# soft, embedding, both, modern   taught by that teacher
#
# About 4 minutes a student, 10 for ResNet50V2, 40 for VGG19 on one free CPU core. POCKETCXR_WEIGHTS names a folder with
# mobilenetv2_100.*.safetensors where timm's hub is out of reach.
set -euo pipefail
splits=$1 out=$2 seeds=${3:-0 1 2} here=$(dirname "$0")
student() { # NAME OPTIONS...
  local name=$1
  shift
  pocketcxr train-student --splits "$splits" --experiment "$here/students_64px.toml" -o "$out/$name" "$@"
}
for seed in $seeds; do student "imagenet-s$seed" --alone --set student.seed="$seed"; done
for seed in $seeds; do student "scratch-s$seed" --alone --set student.seed="$seed" --set student.weights=scratch; done

first="$out/imagenet-s${seeds%% *}/student-alone/best.safetensors"
large=(--set student.weights=scratch --set student.precision=auto --set teacher.checkpoint="$first" --set student.unlabelled=true)
student first-resnet "${large[@]}" --set student.backbone=resnetv2_50 --set student.epochs=6
student first-vgg "${large[@]}" --set student.backbone=vgg19_bn --set student.epochs=4
trained="[\"$out/first-vgg/student-distilled/best.safetensors\", \"$out/first-resnet/student-distilled/best.safetensors\"]"
pocketcxr train-teacher --splits "$splits" --experiment "$here/students_64px.toml" -o "$out/teacher" \
  --set teacher.weights="$trained" --set teacher.frozen_backbones=true

taught=(--set teacher.checkpoint="$out/teacher/teacher/teacher.safetensors")
for seed in $seeds; do
  student "soft-s$seed" "${taught[@]}" --set student.seed="$seed" --set 'student.losses={hard=0.5, soft=1.0}'
  student "embedding-s$seed" "${taught[@]}" --set student.seed="$seed" --set 'student.losses={hard=0.5, embedding=1.0}'
  student "both-s$seed" "${taught[@]}" --set student.seed="$seed"
  student "modern-s$seed" "${taught[@]}" --set student.seed="$seed" --set student.unlabelled=true \
    --set 'student.losses={hard=0.5, dkd=1.0, embedding=1.0, similarity=1.0}'
done
