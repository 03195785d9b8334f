"""Asks the Hugging Face hub whether it answers, once.

huggingface_hub itself tries six times with pauses between (30 s) before it says that there is no hub, and has no
setting for it.
"""

from __future__ import annotations

from export.catalog import Source

TIMEOUT_S = 10
BUSY = 429  # and from 500 on: the hub answers, but not with a file


def silence(source: Source) -> str:
    """Why the hub does not give this source's files now; empty when it does, or refuses for a lasting reason."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    url = hf_hub_url(source.name, "config.json", revision=source.revision)
    try:
        get_hf_file_metadata(url, timeout=TIMEOUT_S)
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set and the hub's cache does not hold it"
    except HfHubHTTPError as error:
        status = error.response.status_code
        return f"the hub answers {status}" if status == BUSY or status >= 500 else ""
    except Exception as error:  # of the HTTP library, which is another one from release to release
        return f"the hub does not answer: {str(error) or type(error).__name__}"
    return ""


def cached(source: Source) -> bool:
    """Whether the hub's cache on this machine has this revision."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(source.name, "config.json", revision=source.revision), str)
