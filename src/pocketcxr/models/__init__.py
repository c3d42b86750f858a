"""Networks: timm backbones, the fused teacher, the student, and checkpoints that carry their configuration."""
