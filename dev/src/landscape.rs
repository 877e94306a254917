//! Paints hills under a low sun. Colours, ridges and light depend on a hash of 32 bytes.

use std::f32::consts::TAU;

type Colour = [f32; 3];

const HILLS: usize = 5;

/// Paints `width` x `height` pixels, three bytes (red, green, blue) each, row by row.
pub(crate) fn paint(seed: &[u8; 32], width: u32, height: u32) -> Vec<u8> {
    let scene = Scene::new(seed, width as usize, height as usize);
    let mut grain = u32::from_le_bytes([seed[0], seed[1], seed[2], seed[3]]) | 1;
    let mut pixels = Vec::with_capacity(scene.width * scene.height * 3);
    for y in 0..scene.height {
        let sky = mix(scene.zenith, scene.horizon, y as f32 / scene.height as f32);
        for x in 0..scene.width {
            let colour = scene.hill(x, y).unwrap_or_else(|| scene.lit(sky, x, y));
            // Noise: without it the gradient compresses to a tenth of a real picture's size.
            grain ^= grain << 13;
            grain ^= grain >> 17;
            grain ^= grain << 5;
            let common = ((grain & 7) + (grain >> 8 & 7)) as f32 - 7.0;
            for (shift, channel) in [16, 19, 22].into_iter().zip(colour) {
                let own = (grain >> shift & 3) as f32 - 1.5;
                pixels.push((channel + common + own) as u8);
            }
        }
    }
    pixels
}

struct Scene {
    width: usize,
    height: usize,
    zenith: Colour,
    horizon: Colour,
    sun: (f32, f32),
    sun_radius: f32,
    /// From back to front: the colour, and the top row of the ridge in each column.
    hills: [(Colour, Vec<usize>); HILLS],
}

impl Scene {
    fn new(seed: &[u8; 32], width: usize, height: usize) -> Self {
        // Each byte of the seed is one parameter, scaled to the range from 0 to 1.
        let part = |index: usize| f32::from(seed[index % 32]) / 255.0;
        let hue = part(4);
        let hills = std::array::from_fn(|layer| {
            let depth = (layer + 1) as f32 / HILLS as f32;
            let colour = hsl(hue + 0.35 + 0.25 * part(5) * depth, 0.38, 0.60 - 0.45 * depth);
            let waves: [(f32, f32, f32); 3] = std::array::from_fn(|wave| {
                let bytes = 8 + layer * 4 + wave;
                let turns = (1.0 + 2.0 * part(bytes)) * (1 << wave) as f32;
                (turns * TAU, part(bytes + 1) * TAU, 0.055 / (1 << wave) as f32)
            });
            let foot = 0.42 + 0.45 * depth;
            let ridge = (0..width).map(|x| {
                let at = x as f32 / width as f32;
                let swing: f32 = waves.iter().map(|(turns, start, size)| size * (at * turns + start).sin()).sum();
                ((foot + swing) * height as f32) as usize
            });
            (colour, ridge.collect())
        });
        Self {
            width,
            height,
            zenith: hsl(hue, 0.55, 0.28),
            horizon: hsl(hue + 0.12 + 0.1 * part(6), 0.75, 0.78),
            sun: ((0.2 + 0.6 * part(7)) * width as f32, (0.15 + 0.2 * part(3)) * height as f32),
            sun_radius: (0.05 + 0.06 * part(2)) * height as f32,
            hills,
        }
    }

    /// The colour of the frontmost hill at this pixel, lighter towards its foot.
    fn hill(&self, x: usize, y: usize) -> Option<Colour> {
        let (colour, ridge) = self.hills.iter().rev().find(|(_, ridge)| y >= ridge[x])?;
        let below = (y - ridge[x]) as f32 / self.height as f32;
        Some(mix(*colour, self.horizon, (below * 1.6).min(0.45)))
    }

    /// The colour of the sky at this pixel, with the sun and its glow.
    fn lit(&self, sky: Colour, x: usize, y: usize) -> Colour {
        let (dx, dy) = (x as f32 - self.sun.0, y as f32 - self.sun.1);
        let far = (dx * dx + dy * dy) / (self.sun_radius * self.sun_radius);
        let light = if far < 1.0 { 0.95 } else { 0.75 / far.sqrt() };
        mix(sky, [255.0, 246.0, 224.0], light)
    }
}

fn mix(from: Colour, to: Colour, share: f32) -> Colour {
    std::array::from_fn(|i| from[i] + (to[i] - from[i]) * share)
}

/// Hue in turns, saturation and lightness from 0 to 1.
fn hsl(hue: f32, saturation: f32, lightness: f32) -> Colour {
    let spread = saturation * lightness.min(1.0 - lightness);
    [0.0, 8.0, 4.0].map(|offset| {
        let k = (offset + hue * 12.0).rem_euclid(12.0);
        255.0 * (lightness - spread * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0))
    })
}
