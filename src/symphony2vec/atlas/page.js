// Beside the viewer: a click on a dot, on a row or on a search result plays its clip, and one clip plays at a time.
(() => {
  "use strict";
  const WAIT_MS = 1000; // the dot of a row or of a search result is found first
  const IN_TOOLTIP = ".embedding-atlas-root .embedding-atlas-root audio";
  const OF_ITS_OWN = "audio, input, select, button:has(svg)"; // what a click on does something else
  const started = new WeakSet(); // a pinned clip that was paused stays so
  let clickedAt = -Infinity;
  let playing = null;

  function play() {
    const audio = document.querySelector(IN_TOOLTIP);
    if (!audio || started.has(audio) || performance.now() - clickedAt > WAIT_MS) return;
    clickedAt = -Infinity;
    started.add(audio);
    audio.play().catch((reason) => {
      if (reason.name !== "AbortError") console.warn(`not played: ${reason.message}`);
    });
  }

  function onClick(event) {
    if (event.target.closest(OF_ITS_OWN)) return;
    clickedAt = performance.now();
    play();
  }

  function onPlay(event) {
    if (playing && playing !== event.target) playing.pause();
    playing = event.target;
  }

  function onEnd(event) {
    if (playing === event.target) playing = null;
  }

  if (location.protocol === "file:") {
    addEventListener("DOMContentLoaded", () => {
      document.body.textContent =
        "A browser shows this page from a server only, not from disk. In this folder run  python -m http.server 8000 " +
        "--bind 127.0.0.1  and open  http://127.0.0.1:8000/";
    });
    return;
  }
  addEventListener("click", onClick, true);
  addEventListener("play", onPlay, true);
  for (const name of ["pause", "ended"]) addEventListener(name, onEnd, true);
  new MutationObserver(play).observe(document, { childList: true, subtree: true });
})();
