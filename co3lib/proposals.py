import numpy as np, torch, higra as hg
from dataclasses import dataclass
from scipy import ndimage, sparse
from skimage.color import rgb2lab
from skimage.segmentation import watershed
from .images import fit_within, resize_nearest
@dataclass(frozen=True)
class Regions:
    labels: torch.Tensor
    members: torch.Tensor
def superpixels(lab, most=1000):
    g=np.sqrt(sum(ndimage.gaussian_gradient_magnitude(lab[...,c],1.0,truncate=3)**2 for c in range(3)))
    return g, watershed(g)-1
def boundary(L,g):
    n=L.max()+1
    a=np.concatenate([L[:,:-1].ravel(),L[:-1].ravel()]); b=np.concatenate([L[:,1:].ravel(),L[1:].ravel()])
    v=np.concatenate([np.maximum(g[:,:-1],g[:,1:]).ravel(),np.maximum(g[:-1],g[1:]).ravel()])
    k=a!=b; a,b,v=a[k],b[k],v[k]
    key=np.minimum(a,b).astype(np.int64)*n+np.maximum(a,b)
    u,inv=np.unique(key,return_inverse=True)
    ln=np.bincount(inv).astype(float)
    return u//n,u%n,ln,np.bincount(inv,v)/ln
def graph(lab,L,g):
    i,j,ln,st=boundary(L,g); n=L.max()+1
    A=np.bincount(L.ravel(),minlength=n).astype(float)
    C=np.stack([np.bincount(L.ravel(),lab[...,c].ravel(),minlength=n)/A for c in range(3)],1)
    G=hg.UndirectedGraph(n); G.add_edges(i,j)
    return G,i,j,ln,st,A,C
def node_members(tree,n):
    P=tree.parents(); N=tree.num_vertices()
    M=np.zeros((N,n),bool); M[np.arange(n),np.arange(n)]=True
    for k in range(N-1): M[P[k]]|=M[k]   # children before parents
    return M
def propose_regions(image,limit=1000,side=400,S=800):
    im=fit_within(image,side); lab=rgb2lab(im).astype(np.float32)
    g,L=superpixels(lab)
    if L.max()<0: L=L*0
    G,i,j,ln,st,A,C=graph(lab,L,g)
    n=len(A)
    if n>S:
        tr,_=hg.binary_partition_tree_ward_linkage(G,C,A)
        m=np.unique(hg.labelisation_horizontal_cut_from_num_regions(tr,_,S),return_inverse=True)[1].ravel()
        L=m[L]; G,i,j,ln,st,A,C=graph(lab,L,g); n=len(A)
    if n<2:
        return Regions(torch.from_numpy(L.astype(np.int64)), torch.ones(1,n,dtype=torch.bool))
    dc=np.sqrt(((C[i]-C[j])**2).sum(1))
    trees=[hg.binary_partition_tree_ward_linkage(G,C,A),hg.binary_partition_tree_ward_linkage(G,C*np.array([.3,1,1]),A),
       hg.binary_partition_tree_average_linkage(G,st,ln),hg.binary_partition_tree_average_linkage(G,dc*st,ln)]
    out=[];total=A.sum()
    for tr,al in trees:
        M=node_members(tr,n); out.append(M)
        for c in (20,50,120):
            if c>=n: continue
            lbl=np.unique(hg.labelisation_horizontal_cut_from_num_regions(tr,al,c),return_inverse=True)[1].ravel()
            R=lbl.max()+1; a,b=lbl[i],lbl[j]; k=a!=b
            key=np.unique(np.minimum(a,b)[k]*R+np.maximum(a,b)[k]); a,b=key//R,key%R
            P=np.zeros((R,n),bool); P[lbl,np.arange(n)]=True
            out.append(P[a]|P[b])
    M=np.concatenate(out); area=M@A
    M=M[(area>3e-4*total)&(area<.7*total)]
    code=np.random.default_rng(0).random(n)
    _,first=np.unique(M@code,return_index=True); M=M[np.sort(first)]
    Mf=M.astype(np.float32); area=Mf@A.astype(np.float32)
    cut=M[:,i]^M[:,j]
    per=cut@ln; strength=(cut@(ln*st))/per
    inner=(M[:,i]&M[:,j]); instr=(inner@(ln*st))/np.maximum(inner@ln,1)
    score=(strength-.5*instr)*(area/total)**.15
    order=np.argsort(-score,kind='stable')[:4*limit]
    Mf=Mf[order]; a=area[order]
    I=(Mf*A.astype(np.float32))@Mf.T; iou=I/(a[:,None]+a[None]-I)
    kept=np.zeros(len(order),bool); dead=np.zeros(len(order),bool)
    for k in range(len(order)):
        if not dead[k]:
            kept[k]=True; dead|=iou[k]>.85
            if kept.sum()>=limit: break
    M=M[order][kept]
    return Regions(torch.from_numpy(L.astype(np.int64)),torch.from_numpy(M))
def propose(image,limit=1000):
    r=propose_regions(image,limit)
    return resize_nearest(r.members[:,r.labels.flatten()].reshape(-1,*r.labels.shape),image.shape[:2])
def regions_of(masks):
    masks=masks.numpy()
    packed=np.ascontiguousarray(np.packbits(masks,axis=0).reshape(-(-len(masks)//8),-1).T)
    _,first,inv=np.unique(packed.view(f'V{packed.shape[1]}').ravel(),return_index=True,return_inverse=True)
    return Regions(torch.from_numpy(inv.reshape(masks.shape[1:])),torch.from_numpy(masks.reshape(len(masks),-1)[:,first]))
