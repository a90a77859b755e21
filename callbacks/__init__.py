"""What happens around training: EMA, pictures, FID, throughput, records, checkpoints, guards."""
