"""Shipped recipes: `prepare/`, `pretrain/` and `finetune/`, one TOML file each."""
