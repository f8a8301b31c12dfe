"""torch.distributed.elastic.multiprocessing"""
