"""Makes real tiny DICOM files, native and compressed, for the tests of every door."""

import io
import tempfile
import warnings
from pathlib import Path

import gdcm
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

CR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.1"


def dataset_of(pixels, *, syntax=ExplicitVRLittleEndian, **elements):
    """A CR data set of the pixels: [H, W] grey or [H, W, 3] colour; elements by keyword, None removes one."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = CR_IMAGE_STORAGE
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    colour = pixels.ndim == 3
    bits = pixels.dtype.itemsize * 8
    values = {
        "SOPClassUID": CR_IMAGE_STORAGE,
        "SOPInstanceUID": "1.2.3.4",
        "Modality": "CR",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        **({"PlanarConfiguration": 0} if colour else {}),
        **elements,
    }
    values.setdefault("HighBit", values["BitsStored"] - 1 if values["BitsStored"] is not None else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydicom minds the invalid values that some tests need
        for keyword, value in values.items():
            if value is not None:
                setattr(dataset, keyword, value)
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes() + b"\0" * (pixels.nbytes % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset


def bytes_of(dataset):
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def compressed(dataset, syntax):
    """Bytes of the file compressed by the codec at hand."""
    syntax = UID(syntax)
    if syntax == JPEGBaseline8Bit:
        stream = io.BytesIO()
        shape = (dataset.Rows, dataset.Columns, 3)[: 2 + (dataset.SamplesPerPixel == 3)]
        samples = np.frombuffer(dataset.PixelData[: int(np.prod(shape))], np.uint8).reshape(shape)
        Image.fromarray(samples).save(stream, "JPEG", quality=100, subsampling=0)
        if dataset.SamplesPerPixel == 3:
            dataset.PhotometricInterpretation = "YBR_FULL"
        dataset.PixelData = encapsulate([stream.getvalue()])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
        return bytes_of(dataset)
    if syntax == RLELossless:
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        return bytes_of(dataset)
    if syntax == JPEG2000Lossless:
        dataset.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
        return bytes_of(dataset)
    return _by_gdcm(dataset, syntax)


def _by_gdcm(dataset, syntax):
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "native.dcm", Path(folder) / "compressed.dcm"
        source.write_bytes(bytes_of(dataset))
        reader = gdcm.ImageReader()
        reader.SetFileName(str(source))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(target))
        assert writer.Write()
        return target.read_bytes()
