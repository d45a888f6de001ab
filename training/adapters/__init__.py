"""LoRA and QLoRA: added, saved, merged."""
