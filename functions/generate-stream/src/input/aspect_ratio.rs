/// The shape of the picture, by width and height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AspectRatio {
    /// The name on the wire, such as `16:9`.
    pub(crate) name: &'static str,
    pub(crate) width: u16,
    pub(crate) height: u16,
}

impl AspectRatio {
    /// The accepted ratios: those that every Gemini image model makes.
    pub(crate) const ALL: [Self; 10] = [
        Self::new("1:1", 1, 1),
        Self::new("2:3", 2, 3),
        Self::new("3:2", 3, 2),
        Self::new("3:4", 3, 4),
        Self::new("4:3", 4, 3),
        Self::new("4:5", 4, 5),
        Self::new("5:4", 5, 4),
        Self::new("9:16", 9, 16),
        Self::new("16:9", 16, 9),
        Self::new("21:9", 21, 9),
    ];

    /// Their names.
    pub(crate) const NAMES: &'static [&'static str] = &{
        let mut names = [""; Self::ALL.len()];
        let mut at = 0;
        while at < names.len() {
            names[at] = Self::ALL[at].name;
            at += 1;
        }
        names
    };

    const fn new(name: &'static str, width: u16, height: u16) -> Self {
        Self { name, width, height }
    }

    /// The ratio of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ratio| ratio.name == name)
    }
}
