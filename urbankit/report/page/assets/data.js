// The data of the page: JSON beside the script, numbers in base64. None of it is read as code or markup.

const READERS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, i4: Int32Array, f4: Float32Array };

function readJSON(key) {
  const element = document.getElementById(`data-${key}`);
  return element ? JSON.parse(element.textContent) : null;
}

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

// The array that `packing.py` packed.
function decode(packed) {
  const bytes = bytesOf(packed.data);
  if (packed.type === "varint") return varints(bytes, Number(packed.length));
  return new READERS[packed.type](bytes.buffer);
}

function varints(bytes, length) {
  const out = new Int32Array(length);
  for (let i = 0, at = 0; i < length; i++) {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 127) << shift;
      if (byte < 128) break;
    }
    out[i] = (value >>> 1) ^ -(value & 1);
  }
  return out;
}

// Points from the differences of each to the one before it.
function summed(xy) {
  for (let i = 2; i < xy.length; i++) xy[i] += xy[i - 2];
  return xy;
}

// The index at which the items of each group begin: [0, n0, n0 + n1, …].
function starts(counts) {
  const out = new Uint32Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) out[i + 1] = out[i] + counts[i];
  return out;
}

// Texts are set as text nodes, so that markup in a name is shown and not interpreted.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function number(value, significant = 4) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const digits = size >= 1e4 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: significant };
  return value.toLocaleString("en", digits).replace("-", "−");
}

function quantile(sorted, share) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] : NaN;
}
