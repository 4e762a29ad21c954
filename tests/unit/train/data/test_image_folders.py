"""Images in folders."""

from pathlib import Path

import numpy as np
import pytest

from hpo import data
from hpo.errors import TaskError

Image = pytest.importorskip("PIL.Image")


def write(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def fill(root: Path, n: int) -> None:
    for i in range(n):
        write(root / "red" / f"{i}.png", (255, 0, 0))
        write(root / "blue" / "deeper" / f"{i}.PNG", (0, 0, 51), (12, 12))


def test_folders_are_the_classes(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    (tmp_path / "red" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    splits = data.image_folder(tmp_path, size=4).splits()
    assert (splits.classes, splits.in_shape) == (("blue", "red"), (3, 4, 4))
    assert len(splits.train) + len(splits.val) == 8
    for x, y in zip(splits.train.x, splits.train.y, strict=True):
        colour = (1.0, 0.0, 0.0) if y == 1 else (0.0, 0.0, 0.2)
        np.testing.assert_allclose(x.mean((1, 2)), colour, atol=1e-6)


def test_images_in_shades_of_grey(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    assert data.image_folder(tmp_path, grayscale=True).splits().in_shape == (1, 32, 32)


def test_a_test_folder_is_the_test_split(tmp_path: Path) -> None:
    fill(tmp_path / "train", 5)
    fill(tmp_path / "test", 3)
    splits = data.image_folder(tmp_path).splits()
    assert splits.test is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 2, 6)


def test_what_is_no_folder_of_images(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"no folder of images: .*none"):
        data.image_folder(tmp_path / "none")
    write(tmp_path / "red" / "1.png", (1, 1, 1))
    with pytest.raises(TaskError, match="a folder of images for each class, two at least"):
        data.image_folder(tmp_path)
    (tmp_path / "blue").mkdir()
    (tmp_path / "blue" / "broken.png").write_bytes(b"no image")
    with pytest.raises(TaskError, match=r"broken\.png cannot be read"):
        data.image_folder(tmp_path)
