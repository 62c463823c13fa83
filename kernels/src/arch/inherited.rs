//! Methods that a set has from the one it is built on, its field 0: a newer instruction changes products, and little else.

/// Operations on vectors but for the gate, and what stores them in the cache.
macro_rules! inherited_vectors {
    () => {
        fn quantise(&self, x: &[f32], row: $crate::acts::ActRowMut<'_>) -> Result<(), $crate::NotFinite> {
            self.0.quantise(x, row)
        }

        fn all_finite(&self, x: &[f32]) -> bool {
            self.0.all_finite(x)
        }

        fn rmsnorm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), $crate::NotFinite> {
            self.0.rmsnorm(x, weight, eps, out)
        }

        fn layernorm(
            &self,
            x: &[f32],
            weight: &[f32],
            bias: &[f32],
            eps: f32,
            out: &mut [f32],
        ) -> Result<(), $crate::NotFinite> {
            self.0.layernorm(x, weight, bias, eps, out)
        }

        fn softmax(&self, x: &mut [f32]) {
            self.0.softmax(x);
        }

        fn rotate(&self, x: &mut [f32], cos_sin: &[f32], pairs: $crate::Pairs) {
            self.0.rotate(x, cos_sin, pairs);
        }

        fn store_f16(&self, x: &[f32], out: &mut [u16]) -> Result<(), $crate::NotFinite> {
            self.0.store_f16(x, out)
        }

        fn store_i8(&self, x: &[f32], out: &mut [i8]) -> Result<u16, $crate::NotFinite> {
            self.0.store_i8(x, out)
        }
    };
}

/// The gate, most of which is an exponential.
macro_rules! inherited_gate {
    () => {
        fn gate(&self, function: $crate::Gate, gate: &mut [f32], up: &[f32]) {
            self.0.gate(function, gate, up);
        }
    };
}

/// Attention of one query over a chunk.
macro_rules! inherited_attention {
    () => {
        fn att_scores(
            &self,
            query: &$crate::Query<'_>,
            keys: &$crate::CacheRows<'_>,
            scale: f32,
            out: &mut [f32],
        ) -> f32 {
            self.0.att_scores(query, keys, scale, out)
        }

        fn att_values(&self, scores: &mut [f32], max: f32, values: &$crate::CacheRows<'_>, acc: &mut [f32]) -> f32 {
            self.0.att_values(scores, max, values, acc)
        }
    };
}

/// Attention of several queries together.
macro_rules! inherited_attend {
    () => {
        fn att_lanes(&self, head_dim: usize) -> usize {
            self.0.att_lanes(head_dim)
        }

        fn att_few(&self, head_dim: usize) -> usize {
            self.0.att_few(head_dim)
        }

        fn attend(
            &self,
            queries: &$crate::Queries<'_>,
            keys: &$crate::CacheRows<'_>,
            values: &$crate::CacheRows<'_>,
            scores: &mut [f32],
            out: &mut $crate::Tile<'_>,
        ) {
            self.0.attend(queries, keys, values, scores, out);
        }
    };
}
