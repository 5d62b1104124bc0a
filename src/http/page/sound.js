// Two sounds, made on the spot: a wooden click for a tile on the table, a soft tone for "your turn". Off by default.

let context = null;

function ready() {
  context ??= new AudioContext();
  if (context.state === 'suspended') context.resume();
  return context;
}

function fade(audio, level, seconds) {
  const gain = audio.createGain();
  gain.gain.setValueAtTime(level, audio.currentTime);
  gain.gain.exponentialRampToValueAtTime(0.0001, audio.currentTime + seconds);
  gain.connect(audio.destination);
  return gain;
}

export function click() {
  const audio = ready();
  const noise = audio.createBuffer(1, Math.floor(audio.sampleRate * 0.05), audio.sampleRate);
  const samples = noise.getChannelData(0);
  for (let i = 0; i < samples.length; i += 1) samples[i] = (Math.random() * 2 - 1) * (1 - i / samples.length) ** 4;
  const source = audio.createBufferSource();
  source.buffer = noise;
  const wood = audio.createBiquadFilter();
  wood.type = 'bandpass';
  wood.frequency.value = 1100;
  wood.Q.value = 3;
  source.connect(wood).connect(fade(audio, 0.9, 0.08));
  source.start();
}

export function tone() {
  const audio = ready();
  for (const [frequency, level] of [[523.25, 0.12], [784, 0.05]]) {
    const voice = audio.createOscillator();
    voice.frequency.value = frequency;
    voice.connect(fade(audio, level, 0.6));
    voice.start();
    voice.stop(audio.currentTime + 0.6);
  }
}
