// Draws the loudness of each sound over its player, in what was played and what was not; a click goes there.
// The browser decodes, so every format that it plays is drawn.  Used by live pages and by saved ones.
function drawWaves(root) {
  for (const sound of root.querySelectorAll("audio:not([data-drawn])")) {
    sound.dataset.drawn = "";
    drawWave(sound);
  }
}
async function drawWave(sound) {
  const content = Uint8Array.from(atob(sound.src.split(",", 2)[1] ?? ""), letter => letter.charCodeAt());
  let samples, length;
  try {
    const decoded = await new OfflineAudioContext(1, 1, 8000).decodeAudioData(content.buffer);
    samples = decoded.getChannelData(0);
    length = decoded.duration;
  } catch {
    return; // the player says what is wrong with it
  }
  const parts = 90, peaks = Array.from({ length: parts }, (_, part) => {
    let peak = 0;
    const end = Math.floor((part + 1) * samples.length / parts);
    for (let at = Math.floor(part * samples.length / parts); at < end; at++) peak = Math.max(peak, Math.abs(samples[at]));
    return peak;
  });
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d"), top = Math.max(...peaks, .01);
  canvas.className = "cfai-wave";
  canvas.ariaHidden = "true"; // the player has keys
  const draw = () => {
    const look = getComputedStyle(canvas), wide = canvas.clientWidth, high = canvas.clientHeight;
    canvas.width = wide * devicePixelRatio;
    canvas.height = high * devicePixelRatio;
    pen.scale(devicePixelRatio, devicePixelRatio);
    peaks.forEach((peak, part) => {
      const size = Math.max(1.5, peak / top * high);
      const played = part / parts < sound.currentTime / length;
      pen.fillStyle = look.getPropertyValue(played ? "--cf-accent" : "--cf-faint") || look.color;
      pen.fillRect(part * wide / parts, (high - size) / 2, Math.max(1, wide / parts - 1), size);
    });
  };
  canvas.onclick = event => { sound.currentTime = event.offsetX / canvas.clientWidth * length; };
  sound.addEventListener("timeupdate", draw);
  sound.parentElement.querySelector(":scope > img")?.remove();
  sound.before(canvas);
  new ResizeObserver(draw).observe(canvas);
}
