"""What starters and schedulers put into the environment of the processes that they start.

MPICH 5.0.2, Open MPI 5.0.11, Intel MPI 2021 and torchrun 2.13: recorded (rank 1 of 2 on one host; of
more ranks or hosts, with the numbers changed).  Slurm, PBS with PALS, LSF: from their manuals (srun's
"output environment variables", "Using PBS", "jsrun").
"""

MPICH = {
    "PMI_RANK": "1", "PMI_SIZE": "4", "PMI_FD": "11", "PMI_HOSTNAME": "vm", "HYDI_CONTROL_FD": "7",
    "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2",
}  # fmt: skip
INTEL_MPI = {**MPICH, "I_MPI_MPIRUN": "mpirun"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_NODE_RANK": "1", "OMPI_UNIVERSE_SIZE": "2",
    "OMPI_VERSION": "5.0.11", "PMIX_RANK": "1", "PMIX_NAMESPACE": "prterun-vm-13012@1",
    "PMIX_HOSTNAME": "vm", "PRTE_LAUNCHED": "1",
}  # fmt: skip
TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1",
    "GROUP_WORLD_SIZE": "2", "ROLE_RANK": "3", "ROLE_WORLD_SIZE": "4", "ROLE_NAME": "default",
    "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_MAX_RESTARTS": "0",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}  # fmt: skip
# One step of srun: 7 tasks on 4 nodes, this one on the third.
SLURM = {
    "SLURM_JOB_ID": "12", "SLURM_JOB_NODELIST": "gpu[01-03,07]", "SLURM_NNODES": "4",
    "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "gpu[01-03,07]", "SLURM_STEP_NUM_NODES": "4",
    "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "7", "SLURM_NTASKS": "7", "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2", "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
}  # fmt: skip
SLURM_PMI2 = {**SLURM, "PMI_RANK": "5", "PMI_SIZE": "7"}
SLURM_PMIX = {**SLURM, "PMIX_RANK": "5", "PMIX_NAMESPACE": "slurm.pmix.12.0"}
# `srun --ntasks-per-node=1`: the second of four.
SLURM_PER_NODE = {**SLURM, "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4",
                  "SLURM_LOCALID": "0", "SLURM_NODEID": "1",
                  "SLURM_STEP_TASKS_PER_NODE": "1(x4)"}  # fmt: skip
# The batch script of an allocation is a step too, of one task; mpirun's ranks inherit it.
SALLOC = {**SLURM, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NODEID": "0",
          "SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "1"}  # fmt: skip
PBS = {
    "PBS_JOBID": "1234.server", "PBS_ENVIRONMENT": "PBS_BATCH", "PBS_NODEFILE": "/var/spool/nodes",
    "PBS_O_WORKDIR": "/home/me", "PBS_NODENUM": "0", "PBS_TASKNUM": "1", "NCPUS": "4",
}  # fmt: skip
PBS_PALS = {
    **PBS, "PALS_RANKID": "3", "PALS_NODEID": "1", "PALS_LOCAL_RANKID": "1", "PALS_APID": "f00d",
    "PMI_RANK": "3", "PMI_SIZE": "4", "PMI_LOCAL_RANK": "1", "PMI_LOCAL_SIZE": "2",
}  # fmt: skip
LSF = {
    "LSB_JOBID": "77", "LSB_DJOB_NUMPROC": "8", "LSB_HOSTS": "a a a a b b b b",
    "LSB_MCPU_HOSTS": "a 4 b 4", "LSB_QUEUE": "normal",
}  # fmt: skip
LSF_JSRUN = {
    **LSF, "JSM_NAMESPACE_RANK": "5", "JSM_NAMESPACE_SIZE": "8", "JSM_NAMESPACE_LOCAL_RANK": "1",
    "JSM_NAMESPACE_LOCAL_SIZE": "4", "PMIX_RANK": "5",
}  # fmt: skip
