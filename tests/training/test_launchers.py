"""What the variables of launchers say: complete ones alone count."""

from __future__ import annotations

import pytest

from vifx.training.errors import HostsError
from vifx.training.launchers import Placement, detected, given

SLURM = {
    "SLURM_JOB_ID": "70000",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "rack[01-02]-node[3-4]",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "3",
    "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
}
MPI = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
}
JAX = {"JAX_COORDINATOR_ADDRESS": "10.0.0.7:1234", "JAX_NUM_PROCESSES": "8", "JAX_PROCESS_ID": "0"}
POD = {"TPU_WORKER_HOSTNAMES": "t-0.svc,t-1.svc", "TPU_WORKER_ID": "1"}
FOUND = {
    "nothing": ({"PATH": "/bin"}, None),
    "JAX's own": (JAX, Placement("JAX_COORDINATOR_ADDRESS", "10.0.0.7:1234", 8, 0)),
    "JAX's own come first": (SLURM | JAX, Placement("JAX_COORDINATOR_ADDRESS", "10.0.0.7:1234", 8, 0)),
    "SLURM, one a host": (SLURM, Placement("SLURM", f"rack01-node3:{61440 + 70000 % 4096}", 4, 3)),
    "SLURM, one a GPU": (
        SLURM | {"SLURM_NODEID": "1", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "1,2(x2)"},
        Placement("SLURM", f"rack01-node3:{61440 + 70000 % 4096}", 4, 3, (1,)),
    ),
    "SLURM, two of eight GPUs each": (
        SLURM | {"SLURM_LOCALID": "3", "SLURM_STEP_TASKS_PER_NODE": "4(x4)", "SLURM_GPUS_ON_NODE": "8"},
        Placement("SLURM", f"rack01-node3:{61440 + 70000 % 4096}", 4, 3, (6, 7)),
    ),
    "SLURM, GPUs bound by it": (
        SLURM | {"SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x4)", "CUDA_VISIBLE_DEVICES": "1"},
        Placement("SLURM", f"rack01-node3:{61440 + 70000 % 4096}", 4, 3),
    ),
    "a shell of salloc": ({"SLURM_JOB_ID": "70000", "SLURM_NTASKS": "4"}, None),
    "Open MPI": (MPI, Placement("Open MPI", f"10.96.0.1:{61440 + 1531576320 // 4096 % 4096}", 2, 1)),
    "SkyPilot": (
        {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2\n10.0.0.3", "SKYPILOT_NODE_RANK": "2"},
        Placement("SkyPilot", "10.0.0.1:8476", 3, 2),
    ),
    "a TPU pod": (POD, Placement("a TPU pod", "t-0.svc:8476", 2, 1)),
    "two slices": (
        POD | {"MEGASCALE_COORDINATOR_ADDRESS": "m-0:8080", "MEGASCALE_NUM_SLICES": "2", "MEGASCALE_SLICE_ID": "1"},
        Placement("a TPU pod", "m-0:8476", 4, 3),
    ),
}
REFUSED = {
    "in part": ({"JAX_NUM_PROCESSES": "2"}, "JAX_NUM_PROCESSES is set and JAX_COORDINATOR_ADDRESS is not; set all of"),
    "no port": (JAX | {"JAX_COORDINATOR_ADDRESS": "host"}, "must be HOST:PORT, got 'host'"),
    "no number": (JAX | {"JAX_PROCESS_ID": "first"}, 'JAX_PROCESS_ID must be a number, got "first"'),
    "too many": (JAX | {"JAX_PROCESS_ID": "8"}, "got process 8 of 8; count from 0"),
    "Open MPI without a place": (
        {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"},
        "does not say where process 0 is",
    ),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_launchers_say(case):
    environment, expected = FOUND[case]
    assert detected(environment) == expected


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_said_in_part_or_wrongly_is_refused(case):
    environment, message = REFUSED[case]
    with pytest.raises(HostsError, match=message):
        detected(environment)


def test_what_is_given():
    assert given("node7:8476,2,1") == Placement("--distributed", "node7:8476", 2, 1)
    assert given("[::1]:8476,2,1").coordinator == "[::1]:8476"
    for text in ("", "node7", "node7:8476", "node7:8476,2", "node7:8476,2,x", "node7:8476,2,1,0"):
        with pytest.raises(HostsError, match=r"must be auto, off or HOST:PORT,COUNT,INDEX"):
            given(text)
    with pytest.raises(HostsError, match="has no port between 1 and 65535"):
        given("node7:99999,2,1")
    with pytest.raises(HostsError, match="got process 2 of 2"):
        given("node7:8476,2,2")
