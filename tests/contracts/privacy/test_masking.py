import json

import numpy as np
import pyarrow as pa
import pytest

from audit.checks.shortcuts import Options, run
from audit.run.personal_columns import is_personal
from audit.tables import PAIRS, SAMPLES

PERSONAL = """
gps latitude GPSLatitude GPSlatitude gpslatitude gps_latitude exif:GPSLatitude x-gps GPSPosition lat lon latlng LatLong lat_lng geotag geohash
serialnumber SERIALNUMBER BodySerialNumber body_serial_number cameraserial ownername OWNERNAME cameraownername CameraOwnerName photographer
photographername photographer_name artist artistname ARTIST XPAuthor author author_url byline creator credit copyright location Location
home_location city City place venue address emailaddress email_address mailing_address street zip_code postalcode user user_id userid userId
username usernsid uploader uploaded_by nickname realname real_name first_name lastname surname account handle twitter patientid PatientID
patient_name patient ssn SSN passport passportnumber dob birthdate birth_date date_of_birth phone phonenumber ip ip_address license_plate
licenseplate observer recordedBy recorded_by identifiedBy identifiedby collector annotator annotator_id annotatorid labeler worker_id WorkerId
radiologist radiologist_name cameraman contact subject_id SubjectID device_id imei IMEI sn SN locality county municipality
"""
ORDINARY = """
placement replaced replacement workplace marketplace background camera camera_model license license_url source year capacity velocity authenticity
class_name file_name filename name title species allocation relocation platform translation flat plate template unknown_error unknownError
shown_error artistic_style authority serialized serialization ownership_type photography_style photo_quality month season weather site split label
quality width height score brightness index description tags views width_px latency lone slate geometry geographic longitudinal medium mode
annotator_count annotators workers_needed subject device device_type snow contactless zip_file clip ship recipe
usage dataset timestamp date_taken iso exposure
"""


@pytest.mark.parametrize("column", PERSONAL.split())
def test_personal_column_names(column):
    assert is_personal(column)


@pytest.mark.parametrize("column", ORDINARY.split())
def test_ordinary_column_names(column):
    assert not is_personal(column)


def findings_of(metadata):
    """Return the findings about images of two alternating classes with the given metadata."""
    random = np.random.default_rng(0)
    plain = {"source_ref": "", "fingerprint": "", "outcome": "ok"}
    rows = [
        plain | {"sample_id": f"{at}.jpg", "content_id": random.bytes(32).hex(), "label": f"class {at % 2}", "metadata": json.dumps(values)}
        for at, values in enumerate(metadata)
    ]
    return run(pa.Table.from_pylist(rows, SAMPLES).to_pandas(), PAIRS.empty_table().to_pandas(), {}, options=Options()).findings


def test_shortcut_findings_mask_personal_values():
    """Column names are those of Flickr and camera tools."""
    secret = {"serialnumber": "SN-778899", "location": "Elm Street 5", "gpslatitude": "52.51631", "ownername": "Anna Example", "userid": "anna77"}
    others = dict.fromkeys(secret, "x") | {"site": "north"}
    found = findings_of((others, secret)[at % 2] for at in range(200))
    assert {f"column {name}" for name in (*secret, "site")} == {finding.evidence["property"] for finding in found}
    printed = "\n".join(finding.message + json.dumps(finding.evidence) for finding in found)
    assert "'north'" in printed
    assert [value for value in secret.values() if value in printed] == []


def test_shortcut_findings_mask_personal_numbers():
    random = np.random.default_rng(0)
    finding, *_ = findings_of({"latitude": 52 + at % 2 + random.random() / 2} for at in range(200))
    assert finding.evidence["property"] == "column latitude"
    assert finding.evidence["value"].startswith("masked value")
    assert not {"median_of_class", "median_of_rest"} & finding.evidence.keys()
    assert "52." not in finding.message + json.dumps(finding.evidence)
