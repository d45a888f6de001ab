"""What passes between stages: configs, tables, steps, chat tokens. No torch, no Prefect."""
