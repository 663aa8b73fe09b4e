"""The embedded backbone: weights, preprocessing, batch independence."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit.backbones import choose, embedded
from audit.backbones.placement import place
from audit.backbones.runtime import OnnxEmbedder, OnnxModel, Placement, prepare
from audit.images.decode import decode

SIDE = embedded.MODELS["embedded"].input_size
PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet-photos-dev.tar"


@pytest.fixture(scope="module")
def model() -> OnnxModel:
    backbone = choose("embedded").backbone
    found = prepare(backbone, place(backbone, device="cpu", precision="auto", note=print), print)
    assert isinstance(found, OnnxModel)
    return found


def inputs(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def test_embedding_does_not_depend_on_its_batch(model):
    batch = inputs(11)
    together = model.open(1).embed(batch)
    order = np.random.default_rng(1).permutation(11)
    assert np.array_equal(model.open(2).embed(batch[order]), together[order])
    assert np.array_equal(model.open(1).embed(batch[:1]), together[:1])


def test_reduced_precision_stays_close_to_full(model):
    batch = np.stack([np.asarray(Image.fromarray(image[:8, :8]).resize((SIDE, SIDE))) for image in inputs(8)])
    full = prepare(choose("embedded").backbone, Placement("ONNX Runtime", "cpu", "float32"), lambda _: None)
    assert isinstance(full, OnnxModel)
    a, b = model.open(1).embed(batch), full.open(1).embed(batch)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.9


def test_torch_and_onnx_agree():
    import torch

    backbone = choose("embedded").backbone
    full = prepare(backbone, Placement("ONNX Runtime", "cpu", "float32"), lambda _: None)
    assert isinstance(full, OnnxModel)
    batch = inputs(2)
    with torch.inference_mode():
        expected = backbone.build()(torch.from_numpy(batch)).numpy()
    assert np.abs(full.open(1).embed(batch) - expected).max() < 1e-3


def test_two_models_share_no_weights():
    """Converting one to bfloat16 must not affect the other."""
    one, other = (choose("embedded").backbone.build().state_dict() for _ in range(2))
    assert not {tensor.data_ptr() for tensor in one.values()} & {tensor.data_ptr() for tensor in other.values()}


def test_refuses_unexpected_weights(monkeypatch):
    from audit.errors import BackboneError

    with pytest.raises(BackboneError, match="SHA-256"):
        embedded.classifier(replace(embedded.LITE0, sha256=embedded.LITE0.sha256[:8] + 56 * "0"))


@pytest.mark.shared_data
@pytest.mark.skipif(not PHOTOS.is_file(), reason=f"the development photos are not at {PHOTOS}")
def test_top_1_accuracy_on_photos(model):
    from timm.data import ImageNetInfo

    names = ImageNetInfo().label_names()
    prepared, truth = [], []
    with tarfile.open(PHOTOS) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is not None:
                image = decode(stream.read()).image
                assert image is not None
                prepared.append(embedded.MODELS["embedded"].preprocessing.prepare(image))
                truth.append(names.index(Path(member.name).parent.name))
    vectors = model.open(2).embed(np.stack(prepared))
    for network, features in zip(embedded.MODELS["embedded"].networks, np.split(vectors, 2, axis=1), strict=True):
        head = embedded.classifier(network).classifier
        # Measured without the bias, since the features are scaled to length 1. A wrong crop, channel order or normalisation loses more.
        assert ((features @ head.weight.detach().numpy().T).argmax(1) == truth).mean() >= 0.86


def test_prepare_equals_resize_then_center_crop():
    image = Image.open(io.BytesIO(_png(371, 250)))
    preprocessing = embedded.MODELS["embedded-small"].preprocessing
    scaled = image.resize((int(256 * 371 / 250), 256), Image.Resampling.BICUBIC)
    left, top = round((scaled.size[0] - 224) / 2), 16
    expected = np.asarray(scaled.crop((left, top, left + 224, top + 224)), np.int16)
    assert np.abs(preprocessing.prepare(image).astype(np.int16) - expected).max() <= 1


def _png(width: int, height: int) -> bytes:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def test_embeds_any_number_of_images(model):
    opened = model.open(1)
    assert isinstance(opened, OnnxEmbedder)
    for count in (0, 1, 8, 9):
        assert opened.embed(inputs(count)).shape == (count, 2560)
