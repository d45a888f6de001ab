"""What passes between stages: configs, tables, parts, steps, chat tokens. No torch, no Prefect."""
