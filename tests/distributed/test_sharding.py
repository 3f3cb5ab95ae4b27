"""Shared-out tensors, in real processes."""

from launch import start


def test_a_process_takes_its_part_of_a_tensor_without_another(tmp_path):
    # so that the main process can restore a checkpoint before the others look at it
    ended = start(2, path=tmp_path, cwd=tmp_path, module="sharer").wait()
    assert [process.code for process in ended] == [0, 0], ended[0].err + ended[1].err
