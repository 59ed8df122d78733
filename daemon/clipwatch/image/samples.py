"""One small picture of each kind a decode worker must manage, 16 × 16 of one colour, as Pillow writes them."""

from __future__ import annotations

from base64 import b64decode
from typing import Final

SAMPLES: Final[dict[str, tuple[bytes, tuple[int, int, int]]]] = {
    "JPEG": (
        b64decode(
            "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsjHBYWICwgIyYn"
            "KSopGR8tMC0oMCUoKSj/2wBDAQcHBwoIChMKChMoGhYaKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgo"
            "KCgoKCgoKCj/wAARCAAQABADASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAf/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QA"
            "FQEBAQAAAAAAAAAAAAAAAAAABgj/xAAUEQEAAAAAAAAAAAAAAAAAAAAA/9oADAMBAAIRAxEAPwCdABykX//Z"
        ),
        (254, 0, 0),
    ),
    "progressive JPEG": (
        b64decode(
            "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsjHBYWICwgIyYn"
            "KSopGR8tMC0oMCUoKSj/2wBDAQcHBwoIChMKChMoGhYaKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgo"
            "KCgoKCgoKCj/wgARCAAQABADASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAb/xAAVAQEBAAAAAAAAAAAAAAAAAAAFB//a"
            "AAwDAQACEAMQAAABnANSP//EABQQAQAAAAAAAAAAAAAAAAAAACD/2gAIAQEAAQUCH//EABQRAQAAAAAAAAAAAAAAAAAAAAD/2gAI"
            "AQMBAT8Bf//EABQRAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQIBAT8Bf//EABQQAQAAAAAAAAAAAAAAAAAAACD/2gAIAQEABj8CH//E"
            "ABQQAQAAAAAAAAAAAAAAAAAAACD/2gAIAQEAAT8hH//aAAwDAQACAAMAAAAQ/wD/xAAUEQEAAAAAAAAAAAAAAAAAAAAA/9oACAED"
            "AQE/EH//xAAUEQEAAAAAAAAAAAAAAAAAAAAA/9oACAECAQE/EH//xAAUEAEAAAAAAAAAAAAAAAAAAAAg/9oACAEBAAE/EB//2Q=="
        ),
        (254, 0, 0),
    ),
    "grey JPEG": (
        b64decode(
            "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsjHBYWICwgIyYn"
            "KSopGR8tMC0oMCUoKSj/wAALCAAQABABAREA/8QAFQABAQAAAAAAAAAAAAAAAAAAAAb/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oA"
            "CAEBAAA/AIwB/9k="
        ),
        (90, 90, 90),
    ),
    "CMYK JPEG": (
        b64decode(
            "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAGBAUGBQQGBgUGBwcGCAoQCgoJCQoUDg8MEBcUGBgXFBYWGh0lHxobIxwWFiAsICMmJykq"
            "KRkfLTAtKDAlKCko/8AAFAgAEAAQBEMRAE0RAFkRAEsRAP/EABUAAQEAAAAAAAAAAAAAAAAAAAAI/8QAFBABAAAAAAAAAAAAAAAA"
            "AAAAAP/aAA4EQwBNAFkASwAAPwCqUqJUVSAAAA//2Q=="
        ),
        (254, 0, 0),
    ),
    "PNG": (
        b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAFklEQVR42mP8z0AaYGIY1TCqYdhqAABALgEfFO4+AgAAAABJRU5E"
            "rkJggg=="
        ),
        (255, 0, 0),
    ),
    "PNG with alpha": (
        b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAYAAAAf8/9hAAAAHUlEQVR42mP8z8Dwn4ECwMRAIRg1YNSAUQMGiwEAWG0CHinutuIA"
            "AAAASUVORK5CYII="
        ),
        (255, 0, 0),
    ),
    "grey PNG with alpha": (
        b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAQAAAC1+jfqAAAAFUlEQVR42mOM+s+AFzAxMIwqGDkKAOhmAXnhJdIlAAAAAElFTkSuQmCC"
        ),
        (90, 90, 90),
    ),
    "palette PNG": (
        b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAABlBMVEUAAAD/AAAb/40iAAAAD0lEQVR42mP8z8DEQAICADIBAR/g"
            "NlhXAAAAAElFTkSuQmCC"
        ),
        (255, 0, 0),
    ),
    "palette PNG with transparency": (
        b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAABlBMVEUAAAD/AAAb/40iAAAAAXRSTlMAQObYZgAAAA9JREFUeNpj"
            "/M/AxEACAgAyAQEf4DZYVwAAAABJRU5ErkJggg=="
        ),
        (255, 0, 0),
    ),
    "grey PNG": (
        b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAEUlEQVR42mOMYkAFTAwjWgAAcVYAet/VL98AAAAASUVORK5CYII="
        ),
        (90, 90, 90),
    ),
    "two-colour PNG": (
        b64decode("iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQAAAAA3iMLMAAAAD0lEQVR42mP8z8DEQAICADIBAR/gNlhXAAAAAElFTkSuQmCC"),
        (255, 255, 255),
    ),
    "16-bit PNG": (
        b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQEAAAAABqCHz+AAAAFUlEQVR42mOMimLAC5gYGEYVjBwFAJVRANThdMYAAAAAAElFTkSuQmCC"
        ),
        (90, 90, 90),
    ),
}
"""Name → file and the RGB that its every pixel has."""
