//! Parameters as trees. Weights, their specifications and, in training, gradients and optimiser state are one
//! tree with other leaves: what is true of one of them (names, order, number) is true of all.

use std::ops::{Deref, DerefMut};

use anyhow::Result;

/// A tree of parameters.
pub trait Tree {
    /// What the leaves hold.
    type Leaf;
    /// The same tree with other leaves.
    type With<U>: Tree<Leaf = U>;

    /// The tree of `f` of every leaf, visited in the order of declaration.
    ///
    /// # Errors
    /// The first that `f` returns.
    fn try_map<'a, U>(&'a self, f: &mut dyn FnMut(&'a Self::Leaf) -> Result<U>) -> Result<Self::With<U>>;

    /// All leaves, in the order of declaration, to be changed.
    fn leaves_mut(&mut self) -> Vec<&mut Self::Leaf>;

    /// All leaves, in the order of declaration.
    fn leaves(&self) -> Vec<&Self::Leaf> {
        let mut all = Vec::new();
        self.try_map::<()>(&mut |leaf| {
            all.push(leaf);
            Ok(())
        })
        .expect("nothing here fails");
        all
    }
}

/// One parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf<T>(pub T);

impl<T> Deref for Leaf<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Leaf<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Tree for Leaf<T> {
    type Leaf = T;
    type With<U> = Leaf<U>;
    fn try_map<'a, U>(&'a self, f: &mut dyn FnMut(&'a T) -> Result<U>) -> Result<Leaf<U>> {
        Ok(Leaf(f(&self.0)?))
    }
    fn leaves_mut(&mut self) -> Vec<&mut T> {
        vec![&mut self.0]
    }
}

impl<X: Tree> Tree for Vec<X> {
    type Leaf = X::Leaf;
    type With<U> = Vec<X::With<U>>;
    fn try_map<'a, U>(&'a self, f: &mut dyn FnMut(&'a X::Leaf) -> Result<U>) -> Result<Self::With<U>> {
        self.iter().map(|tree| tree.try_map(f)).collect()
    }
    fn leaves_mut(&mut self) -> Vec<&mut X::Leaf> {
        self.iter_mut().flat_map(Tree::leaves_mut).collect()
    }
}

impl<X: Tree> Tree for Option<X> {
    type Leaf = X::Leaf;
    type With<U> = Option<X::With<U>>;
    fn try_map<'a, U>(&'a self, f: &mut dyn FnMut(&'a X::Leaf) -> Result<U>) -> Result<Self::With<U>> {
        self.as_ref().map(|tree| tree.try_map(f)).transpose()
    }
    fn leaves_mut(&mut self) -> Vec<&mut X::Leaf> {
        self.iter_mut().flat_map(Tree::leaves_mut).collect()
    }
}

/// Declares a struct whose fields are all trees, as a tree.
macro_rules! tree {
    ($(#[$about:meta])* $name:ident<$t:ident> { $($(#[$about_field:meta])* $field:ident: $kind:ty),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name<$t> {
            $($(#[$about_field])* pub $field: $kind),*
        }

        impl<$t> $crate::nn::Tree for $name<$t> {
            type Leaf = $t;
            type With<U> = $name<U>;
            fn try_map<'a, U>(
                &'a self,
                f: &mut dyn FnMut(&'a $t) -> anyhow::Result<U>,
            ) -> anyhow::Result<$name<U>> {
                Ok($name { $($field: $crate::nn::Tree::try_map(&self.$field, f)?),* })
            }

            fn leaves_mut(&mut self) -> Vec<&mut $t> {
                let mut all = Vec::new();
                $(all.extend($crate::nn::Tree::leaves_mut(&mut self.$field));)*
                all
            }
        }
    };
}
pub(crate) use tree;

#[cfg(test)]
mod tests {
    use super::*;

    tree! {
        /// Twigs.
        Branch<T> {
            /// Always there.
            first: Leaf<T>,
            /// Any number.
            more: Vec<Leaf<T>>,
            /// Or not.
            last: Option<Leaf<T>>,
        }
    }

    #[test]
    fn maps_keep_the_shape_and_visit_in_order() {
        let tree = Branch { first: Leaf(1), more: vec![Leaf(2), Leaf(3)], last: None };
        let mut changed = tree.clone();
        changed.leaves_mut().into_iter().for_each(|leaf| *leaf += 10);
        assert_eq!(changed.leaves(), [&11, &12, &13]);
        let doubled = tree.try_map(&mut |&x| Ok(f64::from(x) * 2.0)).unwrap();
        assert_eq!(doubled, Branch { first: Leaf(2.0), more: vec![Leaf(4.0), Leaf(6.0)], last: None });
        assert_eq!(Branch { last: Some(Leaf(4)), ..tree.clone() }.leaves(), [&1, &2, &3, &4]);
        assert!(tree.try_map::<()>(&mut |&x| if x == 3 { anyhow::bail!("three") } else { Ok(()) }).is_err());
    }
}
