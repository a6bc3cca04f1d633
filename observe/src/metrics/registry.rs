//! Which metrics exist: families by name, and in each the series by their label values.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use super::{Counter, Gauge, Histogram};

/// A row of the table of families. `M` is what a series of it is.
pub struct Family<M> {
    pub name: &'static str,
    pub labels: &'static [&'static str],
    pub buckets: &'static [f64],
    pub help: &'static str,
    metric: PhantomData<fn() -> M>,
}

impl<M> Family<M> {
    pub(super) const fn new(
        name: &'static str,
        labels: &'static [&'static str],
        buckets: &'static [f64],
        help: &'static str,
    ) -> Self {
        Self { name, labels, buckets, help, metric: PhantomData }
    }
}

impl<M: Metric> Family<M> {
    /// A series that no registry shows yet, for an owner that is made before there is one.
    pub fn create(&self) -> M {
        M::create(self.buckets)
    }
}

impl<M> fmt::Debug for Family<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Counter, gauge or histogram: what a registry can hold.
pub trait Metric: Clone {
    fn create(buckets: &'static [f64]) -> Self;
    fn store(self) -> Series;
    fn load(series: &Series) -> Option<&Self>;
}

/// One line of a scrape (a histogram: several).
pub enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
    /// Asked for its value when scraped.
    Sampled(Box<dyn Fn() -> f64 + Send + Sync>),
}

macro_rules! metric {
    ($kind:ident, $create:expr) => {
        impl Metric for $kind {
            fn create(buckets: &'static [f64]) -> Self {
                ($create)(buckets)
            }
            fn store(self) -> Series {
                Series::$kind(self)
            }
            fn load(series: &Series) -> Option<&Self> {
                match series {
                    Series::$kind(metric) => Some(metric),
                    _ => None,
                }
            }
        }
    };
}
metric!(Counter, |_| Counter::default());
metric!(Gauge, |_| Gauge::default());
metric!(Histogram, Histogram::new);

pub(super) struct Group {
    pub help: &'static str,
    pub kind: &'static str,
    pub labels: &'static [&'static str],
    pub series: BTreeMap<Vec<String>, Series>,
}

/// All metrics of one member.
#[derive(Default)]
pub struct Registry {
    pub(super) groups: Mutex<BTreeMap<&'static str, Group>>,
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Series::Counter(counter) => counter.fmt(f),
            Series::Gauge(gauge) => gauge.fmt(f),
            Series::Histogram(histogram) => histogram.fmt(f),
            Series::Sampled(read) => write!(f, "Sampled({})", read()),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    pub fn new() -> Self {
        Self::default()
    }

    /// The series of `family` with these label values, made at zero if it is new.
    ///
    /// # Panics
    /// If there are more or fewer values than the family has labels, or the series is sampled: both are slips in our code.
    pub fn metric<M: Metric>(&self, family: &Family<M>, values: &[&str]) -> M {
        self.with_group::<M, M>(family, values, |entry| {
            let series = entry.or_insert_with(|| M::create(family.buckets).store());
            M::load(series).expect("a sampled series has no handle").clone()
        })
    }

    /// Shows a series of a family without labels that its owner has made ([`Family::create`]).
    pub fn adopt<M: Metric>(&self, family: &Family<M>, series: &M) {
        let series = series.clone().store();
        self.with_group(family, &[], |entry| {
            entry.insert_entry(series);
        });
    }

    /// Sets all series of a family to zero: those that still hold are set again.
    pub fn zero(&self, family: &Family<Gauge>) {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        for series in groups.get(family.name).into_iter().flat_map(|group| group.series.values()) {
            if let Series::Gauge(gauge) = series {
                gauge.set(0.0);
            }
        }
    }

    /// A series whose value is asked for at each scrape, in place of one that was there.
    pub fn sample<M: Metric>(
        &self,
        family: &Family<M>,
        values: &[&str],
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let series = Series::Sampled(Box::new(read));
        self.with_group(family, values, |entry| {
            entry.insert_entry(series);
        });
    }

    fn with_group<M: Metric, R>(
        &self,
        family: &Family<M>,
        values: &[&str],
        act: impl FnOnce(Entry<'_, Vec<String>, Series>) -> R,
    ) -> R {
        assert_eq!(values.len(), family.labels.len(), "label values of {}", family.name);
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let group = groups.entry(family.name).or_insert_with(|| Group {
            help: family.help,
            kind: match M::create(&[]).store() {
                Series::Counter(_) => "counter",
                Series::Gauge(_) | Series::Sampled(_) => "gauge",
                Series::Histogram(_) => "histogram",
            },
            labels: family.labels,
            series: BTreeMap::new(),
        });
        act(group.series.entry(values.iter().map(|value| value.to_string()).collect()))
    }
}
