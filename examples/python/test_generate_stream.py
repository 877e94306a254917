"""Calls both streams of a running service and saves their pictures.

    python run.py                      (in another terminal)
    python test_generate_stream.py

Another service: `GATEWAY_URL`, and `TOKEN` with the access token of a user.
"""

from __future__ import annotations

import os
import sys

from image_gateway import Gateway, GatewayError, Run, SupabaseUser

PHOTOS = [
    "https://ark-project.tos-cn-beijing.volces.com/doc_image/seedream4_imagesToimages_1.png",
    "https://ark-project.tos-cn-beijing.volces.com/doc_image/seedream4_imagesToimages_2.png",
]
FOLDER = "pictures"


def show(title: str, run: Run) -> None:
    print(f"{title}  task_id={run.task_id}")
    for event in run:
        if event.name in ("start", "process"):
            print(f"  {event.name}: {event.data.get('message', '')}")
        elif event.picture:
            picture = event.picture
            print(f"  {event.name}: {picture.index} {picture.width}x{picture.height} {picture.url or picture.media_type}")
        elif event.name in ("retry", "resumed"):
            print(f"  {event.name}: {event.data}")
    for picture in run.result().pictures:
        print(f"  -> {picture.save(FOLDER)}")


def main() -> int:
    url = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8787")
    token = os.environ.get("TOKEN") or SupabaseUser(url, "demo@example.com", "demo").token
    gateway = Gateway(url, token=token)
    try:
        show("POST /api/generate-stream", gateway.generate("海边的婚纱照 a wedding photo by the sea"))
        show("POST /api/v1/faceflip/generate/stream", gateway.faceflip(PHOTOS))
    except GatewayError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        if error.code == "network":
            print(f"没有服务在 {url} / No service at {url}: python run.py", file=sys.stderr)
        return 1
    for item in gateway.generations(limit=2)["items"]:
        print(f"{item['status']}  {item['route']}  {item['task_id']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
