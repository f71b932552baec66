"""What listings say, as servers write them."""

from __future__ import annotations

from xml.etree.ElementTree import ParseError

import pytest

from shared.storage import ObjectInfo
from shared.storage.listing import read_page

NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def listing(inner: str, namespace: str = NAMESPACE) -> bytes:
    return f"<?xml version='1.0'?><ListBucketResult{namespace}>{inner}</ListBucketResult>".encode()


@pytest.mark.parametrize("namespace", ["", NAMESPACE])
def test_objects_folders_and_the_token(namespace: str) -> None:
    page, token = read_page(
        listing(
            "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
            "<NextContinuationToken>a+b%20</NextContinuationToken>"
            "<Contents><Key>a+b%0A%C3%A9%2B</Key><Size>7</Size><ETag>&#34;x&#34;</ETag>"
            "<Owner><ID>1</ID></Owner></Contents>"
            "<CommonPrefixes><Prefix>f%2F%2F</Prefix></CommonPrefixes>",
            namespace,
        )
    )
    assert page.objects == [ObjectInfo("a b\né+", "x", 7)]
    assert page.folders == ["f//"]
    assert token == "a+b%20"


def test_keys_that_are_not_encoded_stay_as_they_are() -> None:
    page, token = read_page(listing("<Contents><Key>a+b%20</Key><Size>1</Size></Contents>"))
    assert (page.objects, token) == ([ObjectInfo("a+b%20", "", 1)], None)


@pytest.mark.parametrize(
    "answer",
    [
        b"<html></html>",
        b"no XML",
        b"",
        b"<XListBucketResult/>",
        listing("<IsTruncated>true</IsTruncated>"),
    ],
)
def test_what_is_no_listing_is_refused(answer: bytes) -> None:
    with pytest.raises(ParseError):
        read_page(answer)
