"""Shipped recipes: `prepare/`, `pretrain/`, `finetune/` and `glue/`, one TOML file each."""
