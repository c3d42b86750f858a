"""Device and exposure of a DICOM header: read, in units, and never with a patient's name in them."""

from pydicom.dataset import Dataset

from pocketcxr.imaging.dicom.acquisition import read_acquisition


def _header(**elements):
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def test_device_and_exposure_are_read_in_their_units():
    header = _header(
        Manufacturer="Agfa ",
        ManufacturerModelName="DX-D 300",
        StationName="ROOM3",
        SoftwareVersions=["NX 8.2", "core 4"],
        DetectorType="SCINTILLATOR",
        KVP="125",
        ExposureInuAs=2500,
        ImagerPixelSpacing=["0.148", "0.148"],
    )
    assert read_acquisition(header) == {
        "manufacturer": "Agfa",
        "device_model": "DX-D 300",
        "station": "ROOM3",
        "software": "NX 8.2",
        "detector": "SCINTILLATOR",
        "kvp": "125",
        "exposure": "2.5",
        "pixel_spacing": "0.148",
    }


def test_what_is_not_filled_is_left_out():
    assert read_acquisition(_header(Manufacturer="", KVP=None, Exposure="0", PixelSpacing=[])) == {}
    assert read_acquisition(_header(DeviceSerialNumber="7", Exposure="4")) == {"station": "7", "exposure": "4"}


def test_text_that_holds_the_patient_is_left_out():
    header = _header(
        PatientName="Doe^Jane",
        PatientID="A-4711",
        PatientBirthDate="19500101",
        Manufacturer="for jane d.",
        ManufacturerModelName="unit 4711",
        SoftwareVersions="19500101",
        DetectorDescription="plate",
    )
    assert read_acquisition(header) == {"detector": "plate"}


def test_control_characters_and_length_are_cut():
    header = _header(Manufacturer="A\x1b[31m\tB", DetectorDescription="x" * 64 + "y")
    assert read_acquisition(header) == {"manufacturer": "A [31m B", "detector": "x" * 64}
