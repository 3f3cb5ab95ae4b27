# Sourced by a batch script before its srun: one reward server a node, in the same job.
# The config names it as {use: remote, urls: ["http://127.0.0.1:8000"]}: each process asks its own node's.
srun --overlap --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
    guardcore serve-reward pickscore --port 8000 &
rewards=$!
trap 'kill "$rewards" 2> /dev/null' EXIT
for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
    srun --overlap --nodes=1 --ntasks=1 --nodelist="$node" \
        bash -c 'until curl --fail --silent http://127.0.0.1:8000/ready; do sleep 2; done'
done
